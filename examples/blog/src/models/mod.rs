//! The tables' rows, and what is audited of each.

mod comment;
mod notification;
mod organization;
mod post;
mod post_status;
mod staff;
mod user;

pub use self::comment::{Comment, NewComment};
pub use self::notification::{NewNotification, Notification};
pub use self::organization::{Membership, Organization};
pub use self::post::{NewPost, Post, PostChanges};
pub use self::post_status::PostStatus;
pub use self::staff::Staff;
pub use self::user::{NewUser, User};
