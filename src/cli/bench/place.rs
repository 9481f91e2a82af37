//! Who runs on which processor: the generator has the last one to itself and what it measures has the others, so that
//! the scheduler cannot make the two take turns on one, which costs whoever is measured a switch for every `send`. Only a
//! server with a shard for every processor shares them all with the generator. Knows nothing of what is measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of one measurement.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Those of the process under test.
    pub(super) target: Vec<usize>,
    generator: Vec<usize>,
}

impl Place {
    /// Where a target with so many busy threads belongs, out of the processors that this process may use.
    pub(super) fn of(allowed: &[usize], busy_threads: Option<usize>) -> Self {
        match allowed.split_last() {
            Some((last, others)) if busy_threads.is_some_and(|threads| threads <= others.len()) => {
                Self { target: others.to_vec(), generator: vec![*last] }
            }
            _ => Self { target: allowed.to_vec(), generator: allowed.to_vec() },
        }
    }

    /// Moves this thread to the generator's processor. Where that is not allowed, it stays: the figures are then noisier.
    pub(super) fn take(&self) {
        move_to(&self.generator);
    }
}

/// The processors that this thread may use now.
pub(super) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Moves this thread, and all that it will start, to the processors named.
pub(super) fn move_to(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(*cpu));
    if !cpus.is_empty() {
        // Refused only where the system keeps processors to itself.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_keeps_a_processor_unless_all_are_needed() {
        let place = |allowed: &[usize], threads| {
            let place = Place::of(allowed, threads);
            (place.target, place.generator)
        };
        assert_eq!(place(&[0, 1], Some(1)), (vec![0], vec![1]));
        assert_eq!(place(&[0, 1], Some(2)), (vec![0, 1], vec![0, 1]));
        assert_eq!(place(&[2, 3, 7], Some(2)), (vec![2, 3], vec![7]));
        assert_eq!(place(&[2, 3, 7], None), (vec![2, 3, 7], vec![2, 3, 7]));
        assert_eq!(place(&[4], Some(1)), (vec![4], vec![4]));
    }
}
