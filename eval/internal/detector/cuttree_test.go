// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// check walks the tree below k and returns the slots it holds.
func check(t *testing.T, tree *cutTree, k int32, rows [][]float64, live []bool) (slots int) {
	t.Helper()
	lo, hi := tree.box(k)
	if tree.left[k] == none {
		for slot, there := range live {
			if there && tree.leaf[slot] == k {
				slots++
				require.Equal(t, rows[slot], lo)
				require.Equal(t, rows[slot], hi)
			}
		}
		require.Equal(t, int(tree.size[k]), slots)
		return slots
	}
	l, r := tree.left[k], tree.right[k]
	require.Equal(t, k, tree.parent[l])
	require.Equal(t, k, tree.parent[r])
	slots = check(t, tree, l, rows, live) + check(t, tree, r, rows, live)
	require.Equal(t, int(tree.size[k]), slots)
	loL, hiL := tree.box(l)
	loR, hiR := tree.box(r)
	for j := range lo {
		require.Equal(t, min(loL[j], loR[j]), lo[j])
		require.Equal(t, max(hiL[j], hiR[j]), hi[j])
	}
	j := tree.dimension[k]
	require.LessOrEqual(t, hiL[j], tree.cut[k])
	require.Greater(t, loR[j], tree.cut[k])
	return slots
}

func TestCutTreeKeepsItsInvariants(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const slots = 32
	tree := newCutTree(3, slots, rand.New(rand.NewPCG(1, 1)))
	rows, live := make([][]float64, slots), make([]bool, slots)
	count := 0
	for range 3000 {
		slot := random.IntN(slots)
		if live[slot] {
			tree.forget(slot)
			live[slot] = false
			count--
		} else {
			// Few values, so that rows coincide.
			rows[slot] = []float64{float64(random.IntN(3)), float64(random.IntN(4)), float64(random.IntN(2))}
			tree.insert(slot, rows[slot])
			live[slot] = true
			count++
		}
		if count == 0 {
			require.Equal(t, none, tree.root)
			continue
		}
		require.Equal(t, none, tree.parent[tree.root])
		require.Equal(t, count, check(t, tree, tree.root, rows, live))
	}
	for slot, there := range live {
		if there {
			tree.forget(slot)
		}
	}
	assert.Equal(t, none, tree.root)
	assert.Len(t, tree.free, 2*slots, "every node is free again")
}

func TestCutsFallInProportionToExtent(t *testing.T) {
	// Boxes of extent 3 by 1: three first cuts in four are in dimension 0.
	first := 0
	for seed := range uint64(4000) {
		tree := newCutTree(2, 2, rand.New(rand.NewPCG(seed, 9)))
		tree.insert(0, []float64{0, 0})
		tree.insert(1, []float64{3, 1})
		if tree.dimension[tree.root] == 0 {
			first++
		}
	}
	assert.InDelta(t, 0.75, float64(first)/4000, 4*math.Sqrt(0.75*0.25/4000))
}

func TestDisplacement(t *testing.T) {
	// A lone row far off displaces all others; a pair of them does half each.
	tree := newCutTree(1, 12, rand.New(rand.NewPCG(1, 1)))
	for slot := range 10 {
		tree.insert(slot, []float64{0})
	}
	tree.insert(10, []float64{1})
	assert.Equal(t, 10.0, tree.displacement(10))
	tree.insert(11, []float64{1})
	assert.Equal(t, 5.0, tree.displacement(10))
	assert.InDelta(t, 0.2, tree.displacement(3), 1e-12)
}
