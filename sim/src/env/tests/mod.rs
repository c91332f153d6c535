//! What the heads of the models promise, promise by promise.

mod disk;
mod lane;
mod net;
mod weather;
