//! Nothing but the tests (`main.rs`): a package needs a target that is none.
