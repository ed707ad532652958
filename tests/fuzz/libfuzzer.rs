//! Hands a target to libFuzzer: `P2P_FED_FUZZ` names it, and its seeds are put into the folder that
//! `P2P_FED_FUZZ_CORPUS` names before libFuzzer reads that.

#![no_main]

use std::{env, fs, path::PathBuf, sync::OnceLock};

use p2p_fed_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = env::var("P2P_FED_FUZZ").expect("P2P_FED_FUZZ names a target");
        let target = *TARGET.get_or_init(|| Target::named(&name).expect("a target of that name"));
        let corpus = PathBuf::from(env::var_os("P2P_FED_FUZZ_CORPUS").expect("P2P_FED_FUZZ_CORPUS names a folder"));
        for (number, seed) in target.seeds().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed).expect("the folder can be written to");
        }
    },
    |bytes: &[u8]| {
        (TARGET.get().expect("init comes first").check)(bytes);
    }
);
