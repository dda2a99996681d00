#![doc = include_str!("promises.md")]
//!
//! <style>td code { overflow-wrap: anywhere; } td:nth-child(2) { width: 42%; }</style>
