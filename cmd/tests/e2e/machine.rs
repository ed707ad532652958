//! Whose machine it is: most tests share it, those that measure have it for themselves.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// Beside other tests.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Without other tests, whose load would be measured too.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}
