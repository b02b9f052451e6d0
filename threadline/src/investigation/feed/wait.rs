//! Being woken when there may be something to read.

use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;

use crate::error::Error;

const CHANNEL: &str = "threadline_feed";

/// How often the connection is looked at. Diesel has no way to wait on its socket.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Has this session notified of commits, as [`wait_for_feed`] needs; call it once, before the first read.
///
/// Give it a connection of its own, outside a transaction, straight to the server: a pool would hand the session to others,
/// PgBouncer in transaction mode loses it, and a standby refuses it. Notifications come only after somebody has called
/// `threadline.enable_feed_notify()`.
///
/// # Errors
///
/// [`Error::ConnectionLost`] and others of the database.
pub fn listen_for_feed(conn: &mut PgConnection) -> Result<(), Error> {
    diesel::sql_query(format!("LISTEN {CHANNEL}")).execute(conn).map(drop).map_err(Error::from)
}

/// Waits until a commit was notified, or until `poll_after` has passed; returns whether one was. Then read in either case.
///
/// A notification is a hint and no promise: what it announces may be held back, what was held back is let go without one,
/// and without [`listen_for_feed`] there are none. So `poll_after` is how late a transaction can be at the most. Blocks the
/// thread, and takes notifications of other channels off the connection too.
///
/// # Errors
///
/// [`Error::ConnectionLost`] when the connection has broken.
pub fn wait_for_feed(conn: &mut PgConnection, poll_after: Duration) -> Result<bool, Error> {
    let began = Instant::now();
    loop {
        let mut notified = false;
        for notification in conn.notifications_iter() {
            notified |= notification.map_err(Error::ConnectionLost)?.channel == CHANNEL;
        }
        let left = poll_after.saturating_sub(began.elapsed());
        if notified || left.is_zero() {
            return Ok(notified);
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
}
