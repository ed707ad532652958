//! Network namespaces, as `ip netns` names them.

use std::{fs::File, io, os::fd::AsFd, panic, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does it on a thread of its own that has entered the namespace, and waits for it. Sockets and devices that are made there stay
/// there, wherever they are used.
///
/// # Errors
/// When there is no such namespace, or no right to enter it.
pub fn inside<T: Send>(space: &str, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    let entered = || {
        let space = File::open(format!("/run/netns/{space}"))?;
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(act())
    };
    thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}
