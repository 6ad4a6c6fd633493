//! Loops compiled a second time for wider vector registers. Both versions round alike: nothing is fused.

/// How many elements a task works on at least; loops are cut here whatever the number of threads.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Runs `work`, compiled for AVX2 where the machine has it.
#[inline(always)]
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the feature.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}
