//! The two protocols, in every order of their steps: `RUSTFLAGS="--cfg loom" cargo test -p oxidane-pool --lib --release`.

use crate::job::Job;
use crate::sleep::{News, Sleeper};
use crate::slot::Slot;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// A visitor works on a job only while it is there, and each of its tasks runs once.
#[test]
fn jobs_outlive_their_visitors() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let gone = Arc::new(AtomicBool::new(false));
        let ran = Arc::new(AtomicUsize::new(0));
        let visitor = {
            let (slot, gone) = (slot.clone(), gone.clone());
            thread::spawn(move || {
                slot.visit(|job| {
                    assert!(!gone.load(Ordering::SeqCst));
                    if job.join() {
                        job.work(true);
                        job.leave();
                    }
                    assert!(!gone.load(Ordering::SeqCst));
                });
            })
        };
        {
            let ran = ran.clone();
            let task = move |_: usize, _: &Job<'_>| {
                ran.fetch_add(1, Ordering::SeqCst);
            };
            let job = Job::new(&task, 2, 1, None);
            slot.show(&job);
            job.work(false);
            slot.take_down();
            assert!(job.is_done());
        }
        gone.store(true, Ordering::SeqCst);
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        visitor.join().unwrap();
    });
}

/// A job that grows is done only when the task that was added last has ended.
#[test]
fn growing_jobs_are_seen_through() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        let visitor = {
            let slot = slot.clone();
            thread::spawn(move || {
                slot.visit(|job| {
                    if job.join() {
                        job.work(true);
                        job.leave();
                    }
                });
            })
        };
        let ran = AtomicUsize::new(0);
        let task = |index: usize, job: &Job<'_>| {
            if index == 0 {
                job.grow();
            }
            ran.fetch_add(1, Ordering::SeqCst);
        };
        let job = Job::growing(&task, 1);
        slot.show(&job);
        job.begin();
        while !job.is_done() {
            job.work(false);
            thread::yield_now();
        }
        slot.take_down();
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        visitor.join().unwrap();
    });
}

/// A thread that sleeps is woken, or has seen the news.
#[test]
fn news_are_not_slept_through() {
    loom::model(|| {
        let news = Arc::new(News::new());
        let sleeper = Arc::new(Sleeper::new());
        let helper = {
            let (news, sleeper) = (news.clone(), sleeper.clone());
            thread::spawn(move || {
                let seen = 0;
                while news.count() == seen {
                    sleeper.sleep(&news, seen, thread::park);
                }
            })
        };
        news.add();
        sleeper.wake(|| helper.thread().unpark());
        // Ends only if the news arrived.
        helper.join().unwrap();
    });
}
