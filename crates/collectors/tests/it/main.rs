//! Collectors against recorded machines, and the laws of their list.

mod hostile;
mod laws;
mod recordings;
