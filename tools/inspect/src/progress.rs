//! A bar for what takes long.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A bar on the standard error that shows up after a second, and only on a terminal.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    hidden: bool,
}

impl Progress {
    /// A bar for `total` steps.
    pub fn new(total: usize) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}, {elapsed}") {
            bar.set_style(style);
        }
        Progress { bar, start: Instant::now(), hidden: true }
    }

    /// One step is done.
    pub fn step(&mut self) {
        if self.hidden && self.start.elapsed() > Duration::from_secs(1) && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.hidden = false;
        }
        self.bar.inc(1);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
