//! What must hold. The numbers are those of the invariants in the documentation.

use std::collections::{BTreeMap, BTreeSet};

use p2p_fed_ledger::{Entry, Ledger, NodeId, Offence, RECORD_MAX, Statement, Unverified};

use crate::{node::Node, world::World};

type Result = std::result::Result<(), String>;

/// Sessions that a ledger may have at once.
const SESSIONS_MAX: usize = 64;

fn alive(world: &World) -> impl Iterator<Item = (&Node, &Ledger)> {
    world.nodes.iter().filter_map(|node| Some((node, node.ledger.as_ref()?)))
}

/// Those alive who take part in syncs. What who lies there or was expelled says and knows, is its own affair.
fn syncing(world: &World) -> impl Iterator<Item = (&Node, &Ledger)> {
    alive(world).filter(|(node, _)| node.lie.is_none() && !world.expelled.contains_key(&node.id))
}

/// Those who sync with each other, group by group: liars who stand between two honest nodes can keep them apart, until
/// one dials the other.
fn groups(world: &World) -> Vec<Vec<usize>> {
    let takes_part =
        |node: &Node| node.lie.is_none() && !world.expelled.contains_key(&node.id) && node.ledger.is_some();
    let mut left: BTreeSet<usize> =
        world.nodes.iter().enumerate().filter(|(_, node)| takes_part(node)).map(|(at, _)| at).collect();
    let mut groups = Vec::new();
    while let Some(first) = left.pop_first() {
        let (mut group, mut next) = (vec![first], vec![first]);
        while let Some(node) = next.pop() {
            let near: Vec<_> = world.network.neighbours(node).into_iter().filter(|other| left.remove(other)).collect();
            group.extend(&near);
            next.extend(near);
        }
        groups.push(group);
    }
    groups
}

fn in_group<'a>(world: &'a World, group: &'a [usize]) -> impl Iterator<Item = (&'a Node, &'a Ledger)> {
    group.iter().filter_map(|at| Some((&world.nodes[*at], world.nodes[*at].ledger.as_ref()?)))
}

fn hold(condition: bool, reason: impl FnOnce() -> String) -> Result {
    if condition { Ok(()) } else { Err(reason()) }
}

// --- held after every step that could break them ---

/// I2: every record in the view was signed by its owner. I3: no number ever goes back. In a large world, some owners are
/// looked at.
pub(crate) fn view_is_sound(world: &mut World, node: usize) -> Result {
    let World { nodes, watched, signed, .. } = world;
    let whole = watched.len() == nodes.len();
    let node = &mut nodes[node];
    let Some(ledger) = &node.ledger else { return Ok(()) };
    let view = ledger.view();
    let mut sound = |(owner, entry): (&NodeId, &Entry)| {
        let held = ledger.record(owner).ok_or_else(|| format!("{owner:?} is in the view alone"))?;
        let own = signed.get(owner).is_some_and(|signed| signed.contains(&held.id()));
        hold(own, || format!("{owner:?} never signed {:?}", held.record()))?;
        hold(held.record() == &entry.record, || format!("the view of {owner:?} is not what is held"))?;
        let before = node.highest.insert(*owner, entry.record.seq).unwrap_or_default();
        hold(before <= entry.record.seq, || format!("{owner:?} went from {before} to {}", entry.record.seq))
    };
    if whole {
        view.nodes.iter().try_for_each(sound)
    } else {
        watched.iter().filter_map(|owner| view.nodes.get_key_value(owner)).try_for_each(&mut sound)
    }
}

/// I6: what is held is within the quotas.
pub(crate) fn within_quota(world: &World, node: usize) -> Result {
    let Some(ledger) = &world.nodes[node].ledger else { return Ok(()) };
    let config = ledger.config();
    hold(ledger.owners() <= config.owners_max, || format!("{} owners", ledger.owners()))?;
    hold(ledger.bytes() <= config.bytes_max + RECORD_MAX, || format!("{} bytes", ledger.bytes()))?;
    hold(ledger.sessions() <= SESSIONS_MAX, || format!("{} sessions", ledger.sessions()))
}

/// The number of an own record is on disk before the record leaves.
pub(crate) fn persisted_first(world: &World, node: usize, payload: &[u8]) -> Result {
    let node = &world.nodes[node];
    let Some(Ok(record)) = payload.get(1..).map(Unverified::decode) else { return Ok(()) };
    let record = record.record();
    // Its own words come back to a node as evidence only, which is no record.
    hold(record.owner != node.id || node.seq >= Some(record.seq) || node.disk_fails, || {
        format!("{:?} says {} with {:?} on disk", node.id, record.seq, node.seq)
    })
}

// --- what a scenario asks for ---

/// I4, I10, I13: each node knows of each other node what that says now, and all agree on who is quarantined.
pub(crate) fn views_agree(world: &World) -> Result {
    groups(world).iter().try_for_each(|group| views_of_group_agree(world, group))
}

fn views_of_group_agree(world: &World, group: &[usize]) -> Result {
    let mut quarantined: BTreeMap<NodeId, (NodeId, bool)> = BTreeMap::new();
    for (reader, ledger) in in_group(world, group) {
        let view = ledger.view();
        for (node, of) in in_group(world, group) {
            let entry =
                view.nodes.get(&node.id).ok_or_else(|| format!("{:?} does not know {:?}", reader.id, node.id))?;
            let own = of.record(&node.id).ok_or("a node that said nothing")?;
            let same = entry.record.statement == own.record().statement;
            // A node whose key says two things is outbid at once, but not more than three times a minute.
            hold(same || world.attackers.contains_key(&node.id), || {
                format!("{:?} thinks that {:?} says {:?}", reader.id, node.id, entry.record.statement)
            })?;
            hold(entry.fresh, || format!("{:?} thinks that {:?} is gone", reader.id, node.id))?;
        }
        for (owner, entry) in view.nodes.iter().filter(|(_, entry)| entry.fresh) {
            let (first, flag) = quarantined.entry(*owner).or_insert((reader.id, entry.quarantined));
            hold(*flag == entry.quarantined, || {
                format!("{first:?} and {:?} differ on the quarantine of {owner:?}", reader.id)
            })?;
        }
    }
    Ok(())
}

/// I4: all fingerprints are equal. Asked for only where nobody renews.
pub(crate) fn fingerprints_equal(world: &World) -> Result {
    let mut all = syncing(world).map(|(node, ledger)| (node.id, ledger.fingerprint()));
    let Some((first, fingerprint)) = all.next() else { return Ok(()) };
    all.try_for_each(|(other, theirs)| hold(fingerprint == theirs, || format!("{first:?} and {other:?} differ")))
}

/// I9: nobody who is alive is thought to be gone.
pub(crate) fn nobody_looks_gone(world: &World) -> Result {
    alive(world).try_for_each(|(reader, ledger)| {
        let view = ledger.view();
        alive(world).try_for_each(|(node, _)| {
            let fresh = view.nodes.get(&node.id).is_some_and(|entry| entry.fresh);
            hold(fresh, || format!("{:?} thinks that {:?} is gone", reader.id, node.id))
        })
    })
}

/// I14: nodes that are gone are forgotten, and stay so.
pub(crate) fn the_dead_are_forgotten(world: &World) -> Result {
    let dead: Vec<_> = world.nodes.iter().filter(|node| node.ledger.is_none()).map(|node| node.id).collect();
    alive(world).try_for_each(|(reader, ledger)| {
        let found = dead.iter().find(|dead| ledger.view().nodes.contains_key(dead));
        hold(found.is_none(), || format!("{:?} still knows {found:?}", reader.id))
    })
}

/// What the gone have offered is offered no more.
pub(crate) fn the_dead_offer_nothing(world: &World) -> Result {
    let dead: Vec<_> = world.nodes.iter().filter(|node| node.ledger.is_none()).map(|node| node.id).collect();
    alive(world).try_for_each(|(reader, ledger)| {
        let view = ledger.view();
        let offers = |id: &&NodeId| view.nodes.get(id).is_some_and(|entry| !entry.record.statement.services.is_empty());
        let found = dead.iter().find(offers);
        hold(found.is_none(), || format!("{:?} still sees offers of {found:?}", reader.id))
    })
}

/// I13: those who said two things at once are quarantined at every node.
pub(crate) fn two_tongues_are_quarantined(world: &World) -> Result {
    alive(world).try_for_each(|(reader, ledger)| {
        let view = ledger.view();
        world.two_tongues.iter().try_for_each(|attacker| {
            let quarantined = view.nodes.get(attacker).is_some_and(|entry| entry.quarantined);
            hold(quarantined, || format!("{:?} trusts {attacker:?}", reader.id))
        })
    })
}

/// Every attacker was blamed by somebody, for what it did.
pub(crate) fn attackers_are_blamed(world: &World) -> Result {
    world.attackers.iter().try_for_each(|(attacker, expected)| {
        let told = world.offences.get(attacker);
        let blamed = told.is_some_and(|told| told.keys().any(|offence| expected.contains(offence)));
        hold(blamed, || format!("{attacker:?} is blamed for {told:?} instead of {expected:?}"))
    })
}

/// Nobody is blamed who only did what the rules ask. A network that stalls is blamed on its messenger, and what everybody
/// says at once on whoever passes it on.
pub(crate) fn only_attackers_are_blamed(world: &World) -> Result {
    for (peer, offences) in world.offences.iter().filter(|(peer, _)| !world.attackers.contains_key(peer)) {
        let unfair = offences.keys().find(|offence| !matches!(offence, Offence::Stalled | Offence::Flood));
        hold(unfair.is_none(), || format!("{peer:?} is blamed: {offences:?}"))?;
    }
    Ok(())
}

/// I7, I8: whatever attackers do, each honest node that is alive is there for each other one, and trusted. That it says
/// what it says, I2 holds after each step.
pub(crate) fn the_honest_are_untouched(world: &World) -> Result {
    let honest = || alive(world).filter(|(node, _)| !world.attackers.contains_key(&node.id));
    honest().try_for_each(|(reader, ledger)| {
        let view = ledger.view();
        honest().try_for_each(|(node, _)| {
            let entry = view.nodes.get(&node.id).ok_or_else(|| format!("{:?} lost {:?}", reader.id, node.id))?;
            hold(entry.fresh, || format!("{:?} thinks that {:?} is gone", reader.id, node.id))?;
            hold(!entry.quarantined, || format!("{:?} distrusts {:?}", reader.id, node.id))
        })
    })
}

/// I10: what everybody holds of a node is what it says in this life, under a number not below any that survives.
pub(crate) fn nobody_is_outnumbered_by_its_past(world: &World) -> Result {
    for (node, of) in syncing(world) {
        let own = of.record(&node.id).ok_or("a node that said nothing")?.record();
        for (reader, ledger) in syncing(world) {
            let held = ledger.record(&node.id).map(|record| record.record().seq);
            hold(held <= Some(own.seq), || {
                format!("{:?} holds {held:?} of {:?}, which is at {}", reader.id, node.id, own.seq)
            })?;
        }
    }
    Ok(())
}

/// One node offers it, and everybody sees that.
pub(crate) fn everybody_sees_web_once(world: &World) -> Result {
    alive(world).try_for_each(|(reader, ledger)| {
        let count = ledger.view().workers("web").count();
        hold(count == 1, || format!("{:?} sees {count} that offer web", reader.id))
    })
}

/// The name is said by the node that has it.
pub(crate) fn everybody_offers_web(world: &World) -> Result {
    let offered = |statement: &Statement| statement.services.iter().any(|service| service.name == "web");
    let count = alive(world).count();
    alive(world).try_for_each(|(reader, ledger)| {
        let view = ledger.view();
        hold(
            view.nodes.values().filter(|entry| entry.fresh && offered(&entry.record.statement)).count() == count,
            || format!("{:?} does not see web everywhere", reader.id),
        )
    })
}
