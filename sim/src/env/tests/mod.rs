//! What the heads of the models promise, promise by promise.

mod clock;
mod cpu;
mod damage;
mod disk;
mod lane;
mod net;
mod weather;
