//! Models as they are announced: bounded, and honest about what is left out.

use std::collections::BTreeMap;

use crate::ledger::{MODELS_BYTES_MAX, MODELS_MAX, Model, Service};

/// Bytes of the models of all services of one node at most, with what frames each: half of a record, because what does not
/// fit with them is not published at all.
const BUDGET: usize = 8 * 1024;

/// Bytes that a model takes beside its name.
const OVERHEAD: usize = 4;

/// The models by their names, and whether each is in memory, as a record may have them. What has no name that can be
/// announced, or finds no room, is covered by [`Model::OTHERS`]. Those in memory have room first.
pub(super) fn announce(models: BTreeMap<String, bool>) -> Vec<Model> {
    let all = models.len();
    let named = models.into_iter().filter(|(name, _)| Model::is_name(name) && name != Model::OTHERS);
    let named: Vec<_> = named.map(|(name, loaded)| Model { name, loaded }).collect();
    cut(named, all, MODELS_BYTES_MAX)
}

/// Makes the models of all services fit into one record.
pub(in crate::worker) fn fit(services: &mut [Service]) {
    let size = |service: &Service| service.models.iter().map(size_of).sum::<usize>();
    if services.iter().map(size).sum::<usize>() <= BUDGET {
        return;
    }
    let lists = services.iter().filter(|service| !service.models.is_empty()).count();
    for service in services {
        let models = std::mem::take(&mut service.models);
        let all = models.len();
        service.models = cut(models, all, BUDGET / lists.max(1));
    }
}

/// As many of `models` as fit; `all` of them there are.
fn cut(mut models: Vec<Model>, all: usize, bytes: usize) -> Vec<Model> {
    let fits = |models: &[Model]| models.len() <= MODELS_MAX && models.iter().map(size_of).sum::<usize>() <= bytes;
    if models.len() == all && fits(&models) {
        return models;
    }
    models.retain(|model| model.name != Model::OTHERS);
    models.sort_by(|a, b| b.loaded.cmp(&a.loaded).then_with(|| a.name.cmp(&b.name)));
    let others = Model { name: Model::OTHERS.to_owned(), loaded: false };
    let mut room = bytes.saturating_sub(size_of(&others));
    let mut kept: Vec<Model> = models
        .into_iter()
        .take(MODELS_MAX - 1)
        .take_while(|model| {
            let size = size_of(model);
            let has_room = size <= room;
            room = room.saturating_sub(size);
            has_room
        })
        .collect();
    kept.push(others);
    kept.sort();
    kept
}

fn size_of(model: &Model) -> usize {
    model.name.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{Protocol, Statement};

    fn models(names: impl IntoIterator<Item = (impl Into<String>, bool)>) -> BTreeMap<String, bool> {
        names.into_iter().map(|(name, loaded)| (name.into(), loaded)).collect()
    }

    fn names(models: &[Model]) -> Vec<&str> {
        models.iter().map(|model| model.name.as_str()).collect()
    }

    #[test]
    fn a_short_list_is_announced_as_it_is() {
        let announced = announce(models([("b", true), ("a", false)]));
        assert_eq!(names(&announced), ["a", "b"]);
        assert_eq!(announced.iter().map(|model| model.loaded).collect::<Vec<_>>(), [false, true]);
        assert!(announce(BTreeMap::new()).is_empty());
    }

    #[test]
    fn what_has_no_name_or_no_room_is_among_the_others() {
        assert_eq!(names(&announce(models([("my model", false), ("a", false)]))), ["*", "a"]);
        assert_eq!(names(&announce(models([("*", true)]))), ["*"]);
        let many = (0..200).map(|i| (format!("m{i:03}"), i >= 100));
        let announced = announce(models(many));
        assert_eq!(announced.len(), MODELS_MAX);
        assert_eq!(announced.iter().filter(|model| model.loaded).count(), 100, "what is in memory has room first");
        assert_eq!(announced[0].name, Model::OTHERS);
    }

    proptest! {
        #[test]
        fn whatever_is_served_can_be_announced(
            lists in prop::collection::vec(prop::collection::btree_map("[ -~]{0,140}|[a-z]{1,8}|ä|\\*", any::<bool>(), 0..200), 1..12),
        ) {
            let mut services: Vec<_> = lists.into_iter().enumerate().map(|(i, list)| {
                let mut service = Service::new(format!("s{i}"), Protocol::Http);
                let all = list.len();
                service.models = announce(list);
                assert!(all == 0 || !service.models.is_empty());
                service
            }).collect();
            let statement = |services: &[Service]| Statement { name: "n".into(), services: services.to_vec(), ..Statement::default() };
            prop_assert_eq!(statement(&services).check(), Ok(()));
            fit(&mut services);
            prop_assert_eq!(statement(&services).check(), Ok(()));
            prop_assert!(services.iter().flat_map(|service| &service.models).map(size_of).sum::<usize>() <= BUDGET);
            let before = services.clone();
            fit(&mut services);
            prop_assert_eq!(services, before);
        }
    }
}
