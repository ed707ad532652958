//! One workload under callgrind, the part of valgrind that counts instructions.
//!
//! Each workload runs in a process of its own, and callgrind counts from the call of [`counted`] to its return. So
//! neither start nor set-up is in the count, and one run is enough. (The difference of a long and a short run would
//! hold what the long one has to set up more.)
//!
//! What a count depends on besides the code is made the same or named. The environment, of which the C library keeps a
//! copy on the stack, is empty but for one variable. Ciphers, hashes and copies have code of their own for the vector
//! instructions of a processor, and each C library has an allocator of its own: these are the **platform**, and counts of
//! two platforms are not compared.

use std::{
    any::Any,
    env,
    io::{Write, stdout},
    process::Command,
};

use anyhow::{Context, ensure};

use super::cores::{Round, Workload};

/// From how many bytes on the C library copies and fills in another way depends on the caches of the processor. Here it
/// never does; other C libraries don't look at it.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:glibc.cpu.x86_rep_stosb_threshold=0x7fffffff:\
                        glibc.cpu.x86_non_temporal_threshold=0x7fffffff";

/// The instructions of a round of `workload`, and the processor that it saw.
pub(super) fn count(workload: &Workload) -> anyhow::Result<(String, u64)> {
    let name = workload.name;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted*", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["--run", name])
        .env_clear()
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()
        .context("valgrind does not start; `make instructions` installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed under callgrind:\n{said}");
    // "==17== Collected : 4711"
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let instructions: u64 = collected.context("callgrind says no count")?.1.trim().parse()?;
    ensure!(instructions > 0, "callgrind did not find the function that is to be counted");
    Ok((String::from_utf8_lossy(&output.stdout).trim().to_owned(), instructions))
}

/// The name and the version of the C library.
pub(super) fn c_library() -> anyhow::Result<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().context("getconf does not start")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() { said } else { "another C library".to_owned() })
}

/// Runs a round of `workload` and says on which processor.
pub(super) fn run(workload: &Workload) -> anyhow::Result<()> {
    let round = (workload.prepare)();
    drop(counted(round));
    writeln!(stdout(), "{}", processor())?;
    Ok(())
}

/// The frame that is counted. Its name is what callgrind looks for; it must remain a function of its own, and no other
/// may contain its name.
#[inline(never)]
fn counted(round: Round) -> Box<dyn Any> {
    // The black box keeps the call from becoming a jump, after which this frame would be gone.
    std::hint::black_box(round())
}

/// The architecture, and the instructions that choose the code of ciphers, hashes and copies, as valgrind shows them.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("aes", is_x86_feature_detected!("aes")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let present = features.into_iter().filter(|(_, present)| *present);
    let words: Vec<_> = [env::consts::ARCH].into_iter().chain(present.map(|(name, _)| name)).collect();
    words.join(" ")
}
