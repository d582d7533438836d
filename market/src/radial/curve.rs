//! Adding step curves up the tree, and reading the prices on the way down.
//!
//! The curve of a node is what its subtree takes (positive) or gives (negative) at a level of
//! price. It falls from all that is wanted, at the lowest level, to minus all that is offered, at
//! the highest; every lot, buy or sell, is a step down by its quantity at its key. So a curve is a
//! list of steps in rising order, together with the height at its left end.

use std::hint::select_unpredictable;

use super::tree::Tree;

/// A fall of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub key: i64,
    /// Positive.
    pub wh: i64,
}

/// Below and above every key and every sum of keys and fees.
const NEVER: i64 = i64::MAX / 4;

/// Where a subtree's curve meets the heights that its branch cares about.
#[derive(Debug, Clone, Copy)]
struct Turns {
    /// Lowest level at which the branch is not full towards the subtree.
    import_full: i64,
    /// The levels at which the subtree needs nothing from outside.
    alone: (i64, i64),
    /// Highest level at which the branch is not full away from the subtree.
    export_full: i64,
}

/// What the nodes bring themselves.
pub(super) trait Own {
    /// Energy wanted and offered at a node.
    fn totals(&self, node: usize) -> (i64, i64);
    /// Appends the node's steps, lowest key first; their sum is what is wanted and offered together.
    fn steps(&self, node: usize, onto: &mut Vec<Step>);
}

/// A level per node at which the market clears: one of those that support the best result.
pub(super) fn levels(tree: &Tree, own: &impl Own) -> Vec<i64> {
    let size = tree.size();
    let mut wanted = vec![0_i64; size];
    let mut offered = vec![0_i64; size];
    let mut turns =
        vec![Turns { import_full: -NEVER, alone: (-NEVER, NEVER), export_full: NEVER }; size];
    // Finished curves of nodes whose parent is not finished, side by side.
    let mut stack: Vec<Step> = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut aside: Vec<Step> = Vec::new();
    for &node in &tree.upwards {
        let node = node as usize;
        let waiting = starts.len() - tree.children[node] as usize;
        starts.push(stack.len());
        own.steps(node, &mut stack);
        let start = merge(&mut stack, &mut starts, waiting, &mut aside);
        let (buys, sells) = own.totals(node);
        let (want, offer) = (wanted[node] + buys, offered[node] + sells);
        let curve = Curve { stack: &mut stack, start, want, offer };
        if node == 0 {
            turns[0] = curve.meet(0, 0, 0);
            break;
        }
        let (import_cap, export_cap) = (tree.import_cap[node], tree.export_cap[node]);
        turns[node] = curve.meet(import_cap, export_cap, tree.fee_keys[node]);
        let parent = tree.parent[node] as usize;
        wanted[parent] += want.min(import_cap);
        offered[parent] += offer.min(export_cap);
        starts.push(start);
    }
    descend(tree, &turns)
}

/// Merges the curves that start at the entries of `starts` from the `first`, neighbours of like
/// length first, and returns where the sum starts.
fn merge(
    stack: &mut [Step],
    starts: &mut Vec<usize>,
    first: usize,
    aside: &mut Vec<Step>,
) -> usize {
    let mut sorted = first;
    for i in first + 1..starts.len() {
        // Curves up to here wait with falling lengths, each more than twice the next.
        sorted += 1;
        starts[sorted] = starts[i];
        let end = starts.get(i + 1).copied().unwrap_or(stack.len());
        while sorted > first && starts[sorted] - starts[sorted - 1] <= 2 * (end - starts[sorted]) {
            merge_two(
                &mut stack[starts[sorted - 1]..end],
                starts[sorted] - starts[sorted - 1],
                aside,
            );
            sorted -= 1;
        }
    }
    while sorted > first {
        merge_two(&mut stack[starts[sorted - 1]..], starts[sorted] - starts[sorted - 1], aside);
        sorted -= 1;
    }
    starts.truncate(first + 1);
    starts.pop().expect("the node's own steps started one")
}

/// Merges the two sorted parts of a list.
fn merge_two(list: &mut [Step], middle: usize, aside: &mut Vec<Step>) {
    // With this many steps of a long curve per new one, moving blocks is cheaper than choosing step
    // by step.
    const FEW: usize = 12;
    if (list.len() - middle) * FEW <= middle {
        insert(list, middle, aside);
    } else {
        interleave(list, middle, aside);
    }
}

/// Inserts the few steps behind `middle` into the many before it, from the back.
fn insert(list: &mut [Step], middle: usize, aside: &mut Vec<Step>) {
    aside.clear();
    aside.extend_from_slice(&list[middle..]);
    let mut end = middle;
    for (before, &step) in aside.iter().enumerate().rev() {
        let place = list[..end].partition_point(|other| other.key <= step.key);
        list.copy_within(place..end, place + before + 1);
        list[place + before] = step;
        end = place;
    }
}

/// Merges two parts of like length. It works from both ends at once, because choosing the
/// next step has to wait for the choice before it, and two such chains run side by side.
fn interleave(list: &mut [Step], middle: usize, aside: &mut Vec<Step>) {
    aside.clear();
    aside.extend_from_slice(list);
    let (left, right) = aside.split_at(middle);
    // What is left of both parts, and of the places to fill.
    let (mut a, mut a_end) = (0, left.len());
    let (mut b, mut b_end) = (0, right.len());
    while a + 1 < a_end && b + 1 < b_end {
        let takes_left = left[a].key <= right[b].key;
        list[a + b] = *select_unpredictable(takes_left, &left[a], &right[b]);
        a += usize::from(takes_left);
        b += usize::from(!takes_left);
        let takes_left = left[a_end - 1].key > right[b_end - 1].key;
        list[a_end + b_end - 1] =
            *select_unpredictable(takes_left, &left[a_end - 1], &right[b_end - 1]);
        a_end -= usize::from(takes_left);
        b_end -= usize::from(!takes_left);
    }
    while a < a_end && b < b_end {
        let takes_left = left[a].key <= right[b].key;
        list[a + b] = *select_unpredictable(takes_left, &left[a], &right[b]);
        a += usize::from(takes_left);
        b += usize::from(!takes_left);
    }
    list[a + b..a_end + b].copy_from_slice(&left[a..a_end]);
    list[a_end + b..a_end + b_end].copy_from_slice(&right[b..b_end]);
}

/// The levels from the root downwards.
fn descend(tree: &Tree, turns: &[Turns]) -> Vec<i64> {
    let mut levels = vec![0_i64; tree.size()];
    let (low, high) = turns[0].alone;
    levels[0] = if low > -NEVER {
        low
    } else if high < NEVER {
        high
    } else {
        0
    };
    for (node, parent) in tree.branches() {
        let (above, fee) = (levels[parent], tree.fee_keys[node]);
        let Turns { import_full, alone: (low, high), export_full } = turns[node];
        levels[node] = if above + fee < low {
            (above + fee).max(import_full)
        } else if above - fee > high {
            (above - fee).min(export_full)
        } else {
            above.clamp(low, high)
        };
    }
    levels
}

/// The curve on top of the stack.
struct Curve<'a> {
    stack: &'a mut Vec<Step>,
    start: usize,
    /// Height at the left end.
    want: i64,
    /// Depth at the right end.
    offer: i64,
}

impl Curve<'_> {
    /// Cuts the curve at the caps, moves both sides of zero apart by the fee, and says where it
    /// met them.
    fn meet(self, import_cap: i64, export_cap: i64, fee: i64) -> Turns {
        let Self { stack, start, want, offer } = self;
        // What is wanted at the lowest levels only can never come.
        let mut first = start;
        let mut import_full = -NEVER;
        let mut excess = want - want.min(import_cap);
        while excess > 0 {
            let step = &mut stack[first];
            import_full = step.key;
            let cut = step.wh.min(excess);
            excess -= cut;
            step.wh -= cut;
            first += usize::from(step.wh == 0);
        }
        // Neither can go what is offered at the highest levels only.
        let mut export_full = NEVER;
        let mut excess = offer - offer.min(export_cap);
        while excess > 0 {
            let last = stack.len() - 1;
            let step = &mut stack[last];
            export_full = step.key;
            let cut = step.wh.min(excess);
            excess -= cut;
            step.wh -= cut;
            if step.wh == 0 {
                stack.pop();
            }
        }
        // The step that reaches zero.
        let mut height = want.min(import_cap);
        let mut zero = first;
        while height > 0 && stack[zero].wh <= height {
            height -= stack[zero].wh;
            zero += 1;
        }
        let alone = if height > 0 {
            (stack[zero].key, stack[zero].key)
        } else {
            let low = if zero > first { stack[zero - 1].key } else { import_full };
            let high = stack.get(zero).map_or(export_full, |step| step.key);
            (low, high)
        };
        if fee > 0 {
            shift(stack, first, zero, height, fee);
        }
        if first > start {
            stack.copy_within(first.., start);
            let kept = stack.len() - (first - start);
            stack.truncate(kept);
        }
        Turns { import_full, alone, export_full }
    }
}

/// Imports are worth less and exports cost more at the other end of the branch. The first `height`
/// of the step at `zero` are still imports.
fn shift(stack: &mut Vec<Step>, first: usize, mut zero: usize, height: i64, fee: i64) {
    if height > 0 {
        let whole = stack[zero];
        stack.insert(zero, Step { key: whole.key, wh: height });
        zero += 1;
        stack[zero].wh = whole.wh - height;
    }
    for step in &mut stack[first..zero] {
        step.key -= fee;
    }
    for step in &mut stack[zero..] {
        step.key += fee;
    }
}
