//! The keys of a route that people bring from nginx: whom it admits by address and by name, by which
//! path and host its app is called, and which headers are set and removed on the way there and back.

mod admits;
mod changes;
mod rewrites;
