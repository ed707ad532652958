//! The workers that are simulated.

/// One kind of worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// How fast one slot is.
    pub(crate) speed: f64,
    pub(crate) slots: u32,
}

/// A fleet.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) name: &'static str,
    pub(crate) machines: Vec<Machine>,
    /// Slots of one worker slow each other down, as on one graphics card.
    pub(crate) shared: bool,
    /// One worker after the other becomes four times slower for a while.
    pub(crate) stumbles: bool,
}

/// How much of a slot's speed each further busy slot costs where they share a card.
const SHARED: f64 = 0.15;

impl Machine {
    /// Speed of one of so many busy slots.
    pub(crate) fn slot_speed(&self, shared: bool, busy: usize) -> f64 {
        let others = if shared { busy.saturating_sub(1) as f64 } else { 0.0 };
        self.speed / (1.0 + SHARED * others)
    }
}

impl Fleet {
    /// Seconds of a slot of speed 1 that it works off in a second.
    pub(crate) fn capacity(&self) -> f64 {
        let of = |m: &Machine| f64::from(m.slots) * m.slot_speed(self.shared, m.slots as usize);
        let all: f64 = self.machines.iter().map(of).sum();
        // One of them has a quarter of its speed for a fifth of the time.
        if self.stumbles { all - all / self.machines.len() as f64 * 0.75 * 0.2 } else { all }
    }
}

fn machines(list: &[(f64, u32)]) -> Vec<Machine> {
    list.iter().map(|(speed, slots)| Machine { speed: *speed, slots: *slots }).collect()
}

/// All fleets.
pub(crate) fn fleets() -> Vec<Fleet> {
    let lab = [(4.0, 8), (2.0, 4), (2.0, 2), (1.0, 4), (0.5, 2), (0.5, 1)];
    let fleet = |name, machines| Fleet { name, machines, shared: false, stumbles: false };
    vec![
        fleet("equal", machines(&[(1.0, 4); 6])),
        fleet("home lab", machines(&lab)),
        Fleet { shared: true, ..fleet("home lab, shared cards", machines(&lab)) },
        fleet("one slow", machines(&[(1.0, 4), (1.0, 4), (1.0, 4), (1.0, 4), (1.0, 4), (0.125, 4)])),
        fleet("many small", machines(&[(1.0, 1); 24])),
        Fleet { stumbles: true, ..fleet("stumbling", machines(&[(1.0, 4); 6])) },
    ]
}
