//! What a loop over two threads costs beside its work: back to back, and after a pause that lets helpers sleep.

use oxidane_pool::Pool;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let pool = Pool::new(2);
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let once = || {
        let start = Instant::now();
        pool.for_each(2, &|i| {
            black_box(i);
        });
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..1000).for_each(|_| _ = once());
    println!("back to back: {:.2} us", median((0..100_000).map(|_| once()).collect()));
    let spin = |time: Duration| {
        let start = Instant::now();
        while start.elapsed() < time {
            std::hint::spin_loop();
        }
    };
    // Two halves of known length: what is beyond a half is the fork and the join.
    let half = Duration::from_micros(20);
    let shared = || {
        spin(Duration::from_micros(100));
        let start = Instant::now();
        pool.for_each(2, &|_| spin(half));
        start.elapsed().as_secs_f64() * 1e6 - 20.0
    };
    println!("two halves after 100 us elsewhere: {:.2} us", median((0..5000).map(|_| shared()).collect()));
    let rested = || {
        std::thread::sleep(Duration::from_millis(2));
        once()
    };
    println!("after 2 ms of rest: {:.2} us", median((0..200).map(|_| rested()).collect()));
}
