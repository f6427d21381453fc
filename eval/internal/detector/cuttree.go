// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import "math/rand/v2"

// none is the index of no node.
const none = int32(-1)

// cutTree is one robust random cut tree. Rows live in slots; equal rows share a
// leaf. Nodes are indices into the slices, and the bounding box of node k is
// lo[k·d : k·d+d] to hi[k·d : k·d+d].
type cutTree struct {
	d      int
	random *rand.Rand
	root   int32
	free   []int32
	leaf   []int32 // of each slot

	parent, left, right []int32 // left is none in a leaf
	size                []int32 // rows below
	dimension           []int32
	cut                 []float64 // x ≤ cut goes left
	lo, hi              []float64
	extent              []float64
}

func newCutTree(d, slots int, random *rand.Rand) *cutTree {
	n := 2 * slots
	ints := func() []int32 { return make([]int32, n) }
	t := &cutTree{
		d: d, random: random, root: none, leaf: make([]int32, slots),
		parent: ints(), left: ints(), right: ints(), size: ints(), dimension: ints(),
		cut: make([]float64, n), lo: make([]float64, n*d), hi: make([]float64, n*d), extent: make([]float64, d),
	}
	for k := n - 1; k >= 0; k-- {
		t.free = append(t.free, int32(k))
	}
	return t
}

func (t *cutTree) box(k int32) (lo, hi []float64) {
	i := int(k) * t.d
	return t.lo[i : i+t.d : i+t.d], t.hi[i : i+t.d : i+t.d]
}

func (t *cutTree) take() int32 {
	k := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	return k
}

func (t *cutTree) newLeaf(slot int, x []float64) int32 {
	k := t.take()
	t.left[k], t.right[k], t.parent[k], t.size[k] = none, none, none, 1
	lo, hi := t.box(k)
	copy(lo, x)
	copy(hi, x)
	t.leaf[slot] = k
	return k
}

// insert puts x into the tree (algorithm 2 of the paper): from the root down, a
// random cut of the node's box widened by x either parts x from the node, which
// makes it a sibling there, or x descends.
func (t *cutTree) insert(slot int, x []float64) {
	if t.root == none {
		t.root = t.newLeaf(slot, x)
		return
	}
	for k := t.root; ; {
		lo, hi := t.box(k)
		j, cut, ok := t.draw(lo, hi, x)
		if !ok { // a leaf that equals x
			t.size[k]++
			t.leaf[slot] = k
			return
		}
		if cut < lo[j] || cut >= hi[j] {
			t.part(k, slot, x, j, cut)
			return
		}
		widen(lo, hi, x)
		t.size[k]++
		if x[t.dimension[k]] <= t.cut[k] {
			k = t.left[k]
		} else {
			k = t.right[k]
		}
	}
}

// draw returns a dimension, in proportion to the extent of the box widened by
// x, and a place in it. It reports false if the box is a single point, x.
func (t *cutTree) draw(lo, hi, x []float64) (dimension int, cut float64, ok bool) {
	var total float64
	for j, v := range x {
		e := max(hi[j], v) - min(lo[j], v)
		t.extent[j] = e
		total += e
	}
	if total == 0 {
		return 0, 0, false
	}
	r := t.random.Float64() * total
	last := 0
	for j, e := range t.extent {
		if e == 0 {
			continue
		}
		last = j
		if r < e {
			break
		}
		r -= e
	}
	low, high := min(lo[last], x[last]), max(hi[last], x[last])
	cut = low + min(r, t.extent[last])
	if cut >= high { // by rounding; the cut has to leave something above it
		cut = low
	}
	return last, cut, true
}

// part puts a new node in k's place, with k and a leaf for x below it.
func (t *cutTree) part(k int32, slot int, x []float64, dimension int, cut float64) {
	leaf, node := t.newLeaf(slot, x), t.take()
	t.dimension[node], t.cut[node] = int32(dimension), cut
	t.size[node] = t.size[k] + 1
	if x[dimension] <= cut {
		t.left[node], t.right[node] = leaf, k
	} else {
		t.left[node], t.right[node] = k, leaf
	}
	t.replace(t.parent[k], k, node)
	t.parent[k], t.parent[leaf] = node, node
	lo, hi := t.box(node)
	below, above := t.box(k)
	copy(lo, below)
	copy(hi, above)
	widen(lo, hi, x)
}

// replace makes node the child of parent that old was.
func (t *cutTree) replace(parent, old, node int32) {
	t.parent[node] = parent
	switch {
	case parent == none:
		t.root = node
	case t.left[parent] == old:
		t.left[parent] = node
	default:
		t.right[parent] = node
	}
}

// forget takes the row of a slot out (algorithm 1 of the paper): its sibling
// takes the place of their parent, and boxes shrink.
func (t *cutTree) forget(slot int) {
	leaf := t.leaf[slot]
	if t.size[leaf] > 1 {
		for k := leaf; k != none; k = t.parent[k] {
			t.size[k]--
		}
		return
	}
	t.free = append(t.free, leaf)
	parent := t.parent[leaf]
	if parent == none {
		t.root = none
		return
	}
	sibling := t.left[parent]
	if sibling == leaf {
		sibling = t.right[parent]
	}
	up := t.parent[parent]
	t.replace(up, parent, sibling)
	t.free = append(t.free, parent)
	x, _ := t.box(leaf)
	shrinking := true
	for k := up; k != none; k = t.parent[k] {
		t.size[k]--
		shrinking = shrinking && t.shrink(k, x)
	}
}

// shrink fits the box of k to its children if x, which has left, lay on its
// rim. It reports whether it did; if not, x was inside of every box above too.
func (t *cutTree) shrink(k int32, x []float64) bool {
	lo, hi := t.box(k)
	rim := false
	for j, v := range x {
		if v == lo[j] || v == hi[j] {
			rim = true
			break
		}
	}
	if !rim {
		return false
	}
	lo1, hi1 := t.box(t.left[k])
	lo2, hi2 := t.box(t.right[k])
	for j := range lo {
		lo[j], hi[j] = min(lo1[j], lo2[j]), max(hi1[j], hi2[j])
	}
	return true
}

// displacement is the collusive displacement of the row in a slot: the most,
// over the subtrees that hold it, of the rows that would move up a level if the
// subtree were removed, per row removed (definition 4 of the paper).
func (t *cutTree) displacement(slot int) float64 {
	var most float64
	for k := t.leaf[slot]; t.parent[k] != none; k = t.parent[k] {
		parent := t.parent[k]
		sibling := t.size[parent] - t.size[k]
		most = max(most, float64(sibling)/float64(t.size[k]))
	}
	return most
}

func widen(lo, hi, x []float64) {
	for j, v := range x {
		lo[j], hi[j] = min(lo[j], v), max(hi[j], v)
	}
}
