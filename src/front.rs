//! Floor 5, the front of the house: listeners and connections, who is calling and whether that is enough, the table of
//! routes, bodies and answers within limits. What is served behind it are the faces on the floor above: `http` for
//! devices and programs, `console` for browsers.

pub mod answer;
pub mod arrival;
pub mod body;
pub mod cookie;
pub mod crashes;
pub mod crowd;
pub mod etag;
pub mod frames;
pub mod framing;
pub mod gate;
pub mod guest;
pub mod host;
pub mod linger;
pub mod logs;
pub mod origin;
pub mod path;
pub mod problem;
pub mod query;
pub mod rescue;
pub mod route;
pub mod server;
pub mod sse;
pub mod tls;
pub mod unread;
