//! Recurrent layers of `f32` on packed weights: products of all gates of sixteen units stay in registers, and the
//! gates are applied to them by vectors.
//!
//! The hidden units are cut into parts for the threads of the pool, which meet after each step (see [`Relay`]). A
//! unit's sums do not depend on the cut.

use super::packed::{Packed, Weights, held};
use super::plain::activate;
use super::relay::{PARTS, Relay};
use super::{Activation, Cell, Direction, Recurrence, RecurrentInputs, Sizes};
use crate::KernelError;
use crate::isa::functions::{sigmoid, tanh};
use crate::isa::{LANES, Vector, Work, dispatch};
use crate::panel::{ROWS, tile};
use crate::scratch::with_scratch;
use oxidane_pool::Pool;
use oxidane_tensor::element_count;
use smallvec::SmallVec;
use std::ops::Range;

/// Where a result goes: all states, the last ones, the last cells.
pub(super) struct Outputs<'a> {
    pub(super) y: &'a mut [f32],
    pub(super) y_h: &'a mut [f32],
    pub(super) y_c: Option<&'a mut [f32]>,
}

/// Multiply-adds of a sequence below which it is not worth a second thread.
const SMALL_SEQUENCE: usize = 1 << 20;
/// Multiply-adds of a step's part at least: about what it costs to meet.
const SMALL_PART: usize = 1 << 15;
/// After so many turns it is asked whether to go on.
const PATIENCE: usize = 8;

/// Memory that the threads write at places of their own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: the parts of a turn write disjoint places and read what earlier turns wrote.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    #[inline(always)]
    fn at(self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}

/// Sequences that go on by themselves: some batches of one direction.
struct Group {
    direction: usize,
    batches: Range<usize>,
    relay: Relay,
}

/// The functions of one direction.
#[derive(Clone, Copy)]
struct Functions {
    f: Activation,
    g: Activation,
    h: Activation,
}

struct Job<'a> {
    cell: Cell,
    functions: SmallVec<[Functions; 2]>,
    clip: Option<f32>,
    reverse: bool,
    batch_first: bool,
    sizes: &'a Sizes,
    packed: &'a Packed,
    x: &'a [f32],
    lens: Option<&'a [i32]>,
    /// The longest of the sequences.
    longest: usize,
    blocks: usize,
    peepholes: Option<&'a [f32]>,
    /// Products of the inputs with the biases: for each direction, row and block, all gates of sixteen units.
    input: Shared,
    /// The biases, by direction, block and gate.
    bias: Shared,
    /// Those of the recurrent product of a hidden gate that is reset behind it, by direction.
    late_bias: Shared,
    /// Two generations of states.
    states: [Shared; 2],
    cells: Shared,
    /// Update gates, and states that were reset.
    update: Shared,
    damped: Shared,
    y: Shared,
}

/// Runs a layer; all sizes were checked.
pub(super) fn run(
    pool: &Pool,
    layer: &Recurrence,
    sizes: &Sizes,
    inputs: &RecurrentInputs<'_>,
    packed: &Packed,
    mut out: Outputs<'_>,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(), KernelError> {
    let Sizes { steps, batch, hidden, gates, directions, .. } = *sizes;
    let lens = inputs.sequence_lens.map(|l| l.values::<i32>()).transpose()?;
    let len = |b: usize| lens.as_ref().map_or(steps, |l| l[b] as usize);
    let longest = (0..batch).map(len).max().unwrap_or(0);
    let last = |d: usize, b: usize| {
        let at = if layer.batch_first { b * directions + d } else { d * batch + b };
        at * hidden..(at + 1) * hidden
    };
    let x = inputs.x.values::<f32>()?;
    let biases = inputs.b.map(|b| b.values::<f32>()).transpose()?;
    let peepholes = inputs.p.map(|p| p.values::<f32>()).transpose()?;
    let initial_h = inputs.initial_h.map(|h| h.values::<f32>()).transpose()?;
    let initial_c = inputs.initial_c.map(|c| c.values::<f32>()).transpose()?;
    let blocks = hidden.div_ceil(LANES);
    let padded = blocks * LANES;
    let of_input = element_count(&[directions, steps, batch, gates * padded])?;
    let of_states = element_count(&[directions, batch, padded])?;
    let of_biases = directions * (gates + 1) * padded;
    let count = of_input + of_biases + 5 * of_states + LANES;
    with_scratch(count, |scratch: &mut [f32]| {
        let skip = scratch.as_ptr().align_offset(64).min(LANES);
        let (input, rest) = scratch[skip..].split_at_mut(of_input);
        let (bias, rest) = rest.split_at_mut(directions * gates * padded);
        let (late_bias, rest) = rest.split_at_mut(directions * padded);
        let mut parts = rest.chunks_exact_mut(of_states.max(1));
        let mut next = || parts.next().unwrap_or_default();
        let (old, new, cells, update, damped) = (next(), next(), next(), next(), next());
        bias.fill(0.0);
        late_bias.fill(0.0);
        if let Some(b) = &biases {
            for d in 0..directions {
                let (of_input, of_state) =
                    b[d * 2 * gates * hidden..][..2 * gates * hidden].split_at(gates * hidden);
                for g in 0..gates {
                    let late = g == 2 && layer.cell == Cell::Gru { linear_before_reset: true };
                    for i in 0..hidden {
                        let (of_input, of_state) = (of_input[g * hidden + i], of_state[g * hidden + i]);
                        let at = ((d * blocks + i / LANES) * gates + g) * LANES + i % LANES;
                        bias[at] = if late { of_input } else { of_input + of_state };
                        if late {
                            late_bias[d * padded + i] = of_state;
                        }
                    }
                }
            }
        }
        for (to, from) in [(&mut *old, &initial_h), (&mut *cells, &initial_c)] {
            to.fill(0.0);
            let Some(from) = from else { continue };
            for d in 0..directions {
                for b in 0..batch {
                    to[(d * batch + b) * padded..][..hidden].copy_from_slice(&from[last(d, b)]);
                }
            }
        }
        let functions = (0..directions).map(|d| {
            let n = layer.cell.default_activations().len();
            let own = &sizes.activations[d * n..(d + 1) * n];
            Functions { f: own[0], g: own[n.min(2) - 1], h: own[n - 1] }
        });
        let shared = |slice: &mut [f32]| Shared(slice.as_mut_ptr());
        let job = Job {
            cell: layer.cell,
            functions: functions.collect(),
            clip: layer.clip.filter(|&c| c > 0.0),
            reverse: layer.direction == Direction::Reverse,
            batch_first: layer.batch_first,
            sizes,
            packed,
            x: &x,
            lens: lens.as_deref(),
            longest,
            blocks,
            peepholes: peepholes.as_deref(),
            input: shared(input),
            bias: shared(bias),
            late_bias: shared(late_bias),
            states: [shared(old), shared(new)],
            cells: shared(cells),
            update: shared(update),
            damped: shared(damped),
            y: shared(out.y),
        };
        if longest > 0 && hidden > 0 {
            job.all(pool, go_on);
        }
        for b in (0..batch).filter(|&b| len(b) < steps) {
            for (t, d) in (len(b)..steps).flat_map(|t| (0..directions).map(move |d| (t, d))) {
                out.y[job.place(t, d, b)..][..hidden].fill(0.0);
            }
        }
        let states: &[f32] = if longest % 2 == 0 { old } else { new };
        for (d, b) in (0..directions).flat_map(|d| (0..batch).map(move |b| (d, b))) {
            let at = (d * batch + b) * padded;
            out.y_h[last(d, b)].copy_from_slice(&states[at..at + hidden]);
            if let Some(y_c) = &mut out.y_c {
                y_c[last(d, b)].copy_from_slice(&cells[at..at + hidden]);
            }
        }
    });
    Ok(())
}

impl Job<'_> {
    fn all(&self, pool: &Pool, go_on: &(dyn Fn() -> bool + Sync)) {
        let Sizes { batch, hidden, size, gates, directions, .. } = *self.sizes;
        let step = gates.saturating_mul(hidden).saturating_mul(hidden).saturating_mul(batch);
        let inputs = gates.saturating_mul(hidden).saturating_mul(size).saturating_mul(batch);
        let sequence = step.saturating_add(inputs).saturating_mul(self.longest);
        let threads = if sequence.saturating_mul(directions) < SMALL_SEQUENCE { 1 } else { pool.width() };
        let each = threads.div_ceil(directions);
        let parts = each.min(step / SMALL_PART).min(self.blocks).clamp(1, PARTS);
        // Cut between tiles, so that the same rows share a tile whatever the cut.
        let tiles = batch.div_ceil(ROWS);
        let rows = tiles.div_ceil((each / parts).clamp(1, tiles)) * ROWS;
        let turns = 1 + self.longest * self.turns_of_a_step();
        let groups: SmallVec<[Group; 2]> = (0..directions)
            .flat_map(|direction| {
                (0..batch).step_by(rows).map(move |from| Group {
                    direction,
                    batches: from..(from + rows).min(batch),
                    relay: Relay::new(turns, parts),
                })
            })
            .collect();
        let join = |task: usize| {
            let (group, own) = (&groups[task / parts], task % parts);
            group.relay.join(own, |turn, part| {
                if turn % PATIENCE == 0 && !go_on() {
                    group.relay.stop();
                    return;
                }
                let parts = group.relay.parts();
                let blocks = part * self.blocks / parts..(part + 1) * self.blocks / parts;
                dispatch(Turn { job: self, group, turn, blocks });
            });
        };
        match threads {
            1 => (0..groups.len() * parts).for_each(join),
            _ => pool.for_each(groups.len() * parts, &join),
        }
    }

    fn turns_of_a_step(&self) -> usize {
        if held(self.cell) < self.cell.gates() { 2 } else { 1 }
    }

    /// Which row of the inputs holds a step of a batch.
    #[inline(always)]
    fn row(&self, t: usize, b: usize) -> usize {
        if self.batch_first { b * self.sizes.steps + t } else { t * self.sizes.batch + b }
    }

    /// Where a state goes in `y`.
    #[inline(always)]
    fn place(&self, t: usize, d: usize, b: usize) -> usize {
        let Sizes { steps, batch, hidden, directions, .. } = *self.sizes;
        let at = match self.batch_first {
            true => (b * steps + t) * directions + d,
            false => (t * directions + d) * batch + b,
        };
        at * hidden
    }

    /// The place in time of a batch's step; none behind its end.
    #[inline(always)]
    fn time(&self, d: usize, b: usize, step: usize) -> Option<usize> {
        let len = self.lens.map_or(self.sizes.steps, |l| l[b] as usize);
        let left = len.checked_sub(step + 1)?;
        Some(if self.reverse || d == 1 { left } else { step })
    }
}

/// One turn of one part: the products of all inputs first, then the steps.
struct Turn<'a> {
    job: &'a Job<'a>,
    group: &'a Group,
    turn: usize,
    blocks: Range<usize>,
}

/// Sums of a tile, for its rows and gates.
type Sums<V> = [[V; 4]; ROWS];

impl Work for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        if self.turn == 0 {
            return match self.job.sizes.gates {
                4 => self.inputs::<V, 4>(),
                3 => self.inputs::<V, 3>(),
                _ => self.inputs::<V, 1>(),
            };
        }
        let turns = self.job.turns_of_a_step();
        let (step, late) = ((self.turn - 1) / turns, (self.turn - 1) % turns == 1);
        match self.job.cell {
            Cell::Lstm { input_forget } => self.lstm::<V>(step, input_forget),
            Cell::Rnn => self.simple::<V>(step),
            Cell::Gru { linear_before_reset: true } => self.gru::<V>(step),
            Cell::Gru { .. } if late => self.gru_late::<V>(step),
            Cell::Gru { .. } => self.gru_early::<V>(step),
        }
    }
}

impl Turn<'_> {
    #[inline(always)]
    fn weights(&self) -> &Weights {
        &self.job.packed.directions[self.group.direction]
    }

    /// Products of all inputs of the group with the part's blocks.
    #[inline(always)]
    fn inputs<V: Vector, const G: usize>(&self) {
        let job = self.job;
        let Sizes { steps, batch, size, .. } = *job.sizes;
        let d = self.group.direction;
        let own = self.group.batches.len();
        let count = job.longest * own;
        let row = |i: usize| job.row(i / own, self.group.batches.start + i % own);
        for block in self.blocks.clone() {
            let panel = self.weights().input.block(block);
            let bias: [V; G] = std::array::from_fn(|g| {
                // SAFETY: the biases hold `blocks` * `G` vectors a direction.
                unsafe { V::load(job.bias.at(((d * job.blocks + block) * G + g) * LANES)) }
            });
            for from in (0..count).step_by(ROWS) {
                let n = ROWS.min(count - from);
                let mut a = [job.x.as_ptr(); ROWS];
                for (r, a) in a.iter_mut().enumerate().take(n) {
                    *a = job.x.as_ptr().wrapping_add(row(from + r) * size);
                }
                let mut sums = [[V::zero(); 4]; ROWS];
                // SAFETY: rows lie in `x`, whose size was checked; the panel has `size` rows of `G` vectors.
                unsafe { product::<V, G, false>(n, size, &a, panel, &mut sums) };
                for (r, sums) in sums.iter().enumerate().take(n) {
                    let at = ((d * steps * batch + row(from + r)) * job.blocks + block) * G * LANES;
                    for g in 0..G {
                        // SAFETY: inside the products of the inputs, where this part writes alone.
                        unsafe { sums[g].add(bias[g]).store(job.input.at(at + g * LANES)) };
                    }
                }
            }
        }
    }

    /// For each tile of batches and each block of the part: the products of the states with the gates, then `gates`
    /// for each batch that has such a step with its time and the place of its state. Others keep their states.
    #[inline(always)]
    fn step<V: Vector, const G: usize>(
        &self,
        step: usize,
        late: bool,
        gates: impl Fn(&[V; 4], usize, usize, usize, usize),
    ) {
        let job = self.job;
        let Sizes { batch, hidden, .. } = *job.sizes;
        let (d, padded) = (self.group.direction, job.blocks * LANES);
        let panels = match &self.weights().late {
            Some(panels) if late => panels,
            _ => &self.weights().state,
        };
        let states = if late { job.damped } else { job.states[step % 2] };
        for block in self.blocks.clone() {
            let panel = panels.block(block);
            for from in self.group.batches.clone().step_by(ROWS) {
                let n = ROWS.min(self.group.batches.end - from);
                let a = std::array::from_fn(|r| {
                    states.at((d * batch + from + r.min(n - 1)) * padded).cast_const()
                });
                let mut sums = [[V::zero(); 4]; ROWS];
                // SAFETY: rows of states have `padded` elements; the panel has `hidden` rows of `G` vectors.
                unsafe { product::<V, G, true>(n, hidden, &a, panel, &mut sums) };
                for (r, sums) in sums.iter().enumerate().take(n) {
                    let b = from + r;
                    let at = (d * batch + b) * padded + block * LANES;
                    match job.time(d, b, step) {
                        Some(t) => gates(sums, block, t, b, at),
                        // SAFETY: inside the states; the next generation is written by this part alone.
                        None => unsafe {
                            V::load(job.states[step % 2].at(at)).store(job.states[(step + 1) % 2].at(at));
                        },
                    }
                }
            }
        }
    }

    /// Gate `g` of the products of the inputs.
    #[inline(always)]
    fn input<V: Vector>(&self, block: usize, t: usize, b: usize, g: usize) -> V {
        let job = self.job;
        let row = self.group.direction * job.sizes.steps * job.sizes.batch + job.row(t, b);
        // SAFETY: inside the products of the inputs.
        unsafe { V::load(job.input.at(((row * job.blocks + block) * job.sizes.gates + g) * LANES)) }
    }

    /// The old vector of states.
    #[inline(always)]
    fn old<V: Vector>(&self, step: usize, at: usize) -> V {
        // SAFETY: inside the states.
        unsafe { V::load(self.job.states[step % 2].at(at)) }
    }

    /// Writes a vector of states to the next generation and to `y`.
    #[inline(always)]
    fn put<V: Vector>(&self, state: V, step: usize, (block, t, b, at): (usize, usize, usize, usize)) {
        let (job, unit) = (self.job, block * LANES);
        let to = job.y.at(job.place(t, self.group.direction, b) + unit);
        // SAFETY: inside the states and `y`, at places that this part writes alone.
        unsafe {
            state.store(job.states[(step + 1) % 2].at(at));
            match job.sizes.hidden - unit {
                LANES.. => state.store(to),
                n => state.store_first(to, n),
            }
        }
    }

    #[inline(always)]
    fn lstm<V: Vector>(&self, step: usize, input_forget: bool) {
        let job = self.job;
        let (d, hidden) = (self.group.direction, job.sizes.hidden);
        let Functions { f, g, h } = job.functions[d];
        self.step::<V, 4>(
            step,
            false,
            #[inline(always)]
            |sums, block, t, b, at| {
                // SAFETY: inside the cells, which this part uses alone at this place.
                let old = unsafe { V::load(job.cells.at(at)) };
                let peephole = |gate: usize, cells: V, sum: V| match job.peepholes {
                    None => sum,
                    Some(p) => {
                        let own = &p[(d * 3 + gate) * hidden..][..hidden];
                        V::of(&own[block * LANES..]).mul_add(cells, sum)
                    }
                };
                let gate = |i: usize| sums[i].add(self.input(block, t, b, i));
                let input = self.activate(f, peephole(0, old, gate(0)));
                let forget = match input_forget {
                    true => V::splat(1.0).sub(input),
                    false => self.activate(f, peephole(2, old, gate(2))),
                };
                let fresh = self.activate(g, gate(3));
                let cells = forget.mul_add(old, input.mul(fresh));
                let output = self.activate(f, peephole(1, cells, gate(1)));
                // SAFETY: as above.
                unsafe { cells.store(job.cells.at(at)) };
                self.put(self.activate(h, cells).mul(output), step, (block, t, b, at));
            },
        );
    }

    #[inline(always)]
    fn simple<V: Vector>(&self, step: usize) {
        let f = self.job.functions[self.group.direction].f;
        self.step::<V, 1>(
            step,
            false,
            #[inline(always)]
            |sums, block, t, b, at| {
                let sum = sums[0].add(self.input(block, t, b, 0));
                self.put(self.activate(f, sum), step, (block, t, b, at));
            },
        );
    }

    #[inline(always)]
    fn gru<V: Vector>(&self, step: usize) {
        let job = self.job;
        let d = self.group.direction;
        let Functions { f, g, .. } = job.functions[d];
        self.step::<V, 3>(
            step,
            false,
            #[inline(always)]
            |sums, block, t, b, at| {
                let update = self.activate(f, sums[0].add(self.input(block, t, b, 0)));
                let reset = self.activate(f, sums[1].add(self.input(block, t, b, 1)));
                // SAFETY: there is a vector of these biases for each block.
                let bias = unsafe { V::load(job.late_bias.at((d * job.blocks + block) * LANES)) };
                let fresh = self.activate(g, reset.mul_add(sums[2].add(bias), self.input(block, t, b, 2)));
                let old = self.old::<V>(step, at);
                self.put(update.mul_add(old.sub(fresh), fresh), step, (block, t, b, at));
            },
        );
    }

    #[inline(always)]
    fn gru_early<V: Vector>(&self, step: usize) {
        let job = self.job;
        let f = job.functions[self.group.direction].f;
        self.step::<V, 2>(
            step,
            false,
            #[inline(always)]
            |sums, block, t, b, at| {
                let update = self.activate(f, sums[0].add(self.input(block, t, b, 0)));
                let reset = self.activate(f, sums[1].add(self.input(block, t, b, 1)));
                // SAFETY: inside both, at a place that this part writes alone.
                unsafe {
                    update.store(job.update.at(at));
                    reset.mul(self.old(step, at)).store(job.damped.at(at));
                }
            },
        );
    }

    #[inline(always)]
    fn gru_late<V: Vector>(&self, step: usize) {
        let job = self.job;
        let g = job.functions[self.group.direction].g;
        self.step::<V, 1>(
            step,
            true,
            #[inline(always)]
            |sums, block, t, b, at| {
                let fresh = self.activate(g, sums[0].add(self.input(block, t, b, 2)));
                // SAFETY: inside the update gates, which this part wrote.
                let update = unsafe { V::load(job.update.at(at)) };
                let old = self.old::<V>(step, at);
                self.put(update.mul_add(old.sub(fresh), fresh), step, (block, t, b, at));
            },
        );
    }

    #[inline(always)]
    fn activate<V: Vector>(&self, activation: Activation, x: V) -> V {
        let x = match self.job.clip {
            // The order of the sides lets NaN through.
            Some(bound) => V::splat(bound).min(V::splat(-bound).max(x)),
            None => x,
        };
        match activation {
            Activation::Sigmoid => sigmoid(x),
            Activation::Tanh => tanh(x),
            Activation::Relu => V::zero().max(x),
            rare => {
                let mut values = [0.0; LANES];
                x.put(&mut values);
                activate(rare, None, &mut values);
                V::of(&values)
            }
        }
    }
}

/// The sums of `n` rows of `k` elements with a panel of `G` gates. Where `split`, a single row may add up in several
/// streams, which hides the latency of sums.
///
/// # Safety
/// Rows and panel can be read; `n` is at most [`ROWS`].
#[inline(always)]
unsafe fn product<V: Vector, const G: usize, const SPLIT: bool>(
    n: usize,
    k: usize,
    a: &[*const f32; ROWS],
    panel: *const f32,
    sums: &mut Sums<V>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match n {
            1 => {
                let [sums, ..] = sums;
                let [row] = match (SPLIT, V::TILE.1 > 1, G) {
                    (true, true, 3..) => tile::<V, 1, G, 2>(k, [a[0]], panel, G * LANES),
                    (true, true, _) => tile::<V, 1, G, 4>(k, [a[0]], panel, G * LANES),
                    (true, false, ..=2) => tile::<V, 1, G, 2>(k, [a[0]], panel, G * LANES),
                    _ => tile::<V, 1, G, 1>(k, [a[0]], panel, G * LANES),
                };
                sums[..G].copy_from_slice(&row);
            }
            2 => rows::<V, 2, G>(k, a, panel, sums),
            3 => rows::<V, 3, G>(k, a, panel, sums),
            4 => rows::<V, 4, G>(k, a, panel, sums),
            5 => rows::<V, 5, G>(k, a, panel, sums),
            _ => rows::<V, 6, G>(k, a, panel, sums),
        }
    }
}

/// # Safety
/// As [`product`].
#[inline(always)]
unsafe fn rows<V: Vector, const R: usize, const G: usize>(
    k: usize,
    a: &[*const f32; ROWS],
    panel: *const f32,
    sums: &mut Sums<V>,
) {
    let a: [*const f32; R] = std::array::from_fn(|r| a[r]);
    // SAFETY: the caller's promise.
    unsafe {
        if V::TILE.1 > 1 {
            for (to, from) in sums.iter_mut().zip(tile::<V, R, G, 1>(k, a, panel, G * LANES)) {
                to[..G].copy_from_slice(&from);
            }
        } else {
            for g in 0..G {
                let part = tile::<V, R, 1, 1>(k, a, panel.add(g * LANES), G * LANES);
                for (to, from) in sums.iter_mut().zip(part) {
                    to[g] = from[0];
                }
            }
        }
    }
}
