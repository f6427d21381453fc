// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"math"
	"math/rand/v2"
)

const (
	isolationTrees  = 100
	isolationSample = 256
)

// isolation is an isolation forest (Liu, Ting and Zhou 2008): the fewer random
// cuts part a row from a sample of the prefix, the more anomalous it is.
type isolation struct {
	seed  uint64
	trees [][]isolationNode
	unit  float64 // average path length of the sample
}

// isolationNode is a cut, or a leaf where left is 0.
type isolationNode struct {
	left, right int32
	dimension   int32
	size        int32 // rows of the sample in a leaf
	cut         float64
}

func newIsolation(s Setting) Detector {
	return &calibrated{fresh: func() model { return &isolation{seed: s.Seed} }}
}

func (d *isolation) fit(rows [][]float64) {
	size := min(isolationSample, len(rows))
	depth := int(math.Ceil(math.Log2(float64(size))))
	d.unit = pathLength(size)
	d.trees = make([][]isolationNode, isolationTrees)
	sample := make([][]float64, size)
	for t := range d.trees {
		random := rand.New(rand.NewPCG(d.seed, uint64(t)))
		for i, k := range random.Perm(len(rows))[:size] {
			sample[i] = rows[k]
		}
		grower := isolationGrower{random: random}
		grower.grow(sample, depth)
		d.trees[t] = grower.nodes
	}
}

type isolationGrower struct {
	random *rand.Rand
	nodes  []isolationNode
	varied []int32
}

// grow appends the tree of rows, which it reorders, and returns its index.
func (g *isolationGrower) grow(rows [][]float64, depth int) int32 {
	at := int32(len(g.nodes))
	g.nodes = append(g.nodes, isolationNode{size: int32(len(rows))})
	if depth == 0 || len(rows) <= 1 {
		return at
	}
	g.varied = g.varied[:0]
	for j := range rows[0] {
		for _, x := range rows[1:] {
			if x[j] != rows[0][j] {
				g.varied = append(g.varied, int32(j))
				break
			}
		}
	}
	if len(g.varied) == 0 {
		return at
	}
	j := g.varied[g.random.IntN(len(g.varied))]
	lo, hi := rows[0][j], rows[0][j]
	for _, x := range rows {
		lo, hi = min(lo, x[j]), max(hi, x[j])
	}
	cut := lo + (hi-lo)*g.random.Float64()
	split := 0
	for i, x := range rows {
		if x[j] <= cut {
			rows[i], rows[split] = rows[split], x
			split++
		}
	}
	left := g.grow(rows[:split], depth-1)
	right := g.grow(rows[split:], depth-1)
	g.nodes[at] = isolationNode{left: left, right: right, dimension: j, cut: cut}
	return at
}

func (d *isolation) score(x []float64) float64 {
	var sum float64
	for _, nodes := range d.trees {
		at, depth := int32(0), 0
		for nodes[at].left != 0 {
			if x[nodes[at].dimension] <= nodes[at].cut {
				at = nodes[at].left
			} else {
				at = nodes[at].right
			}
			depth++
		}
		sum += float64(depth) + pathLength(int(nodes[at].size))
	}
	return math.Exp2(-sum / float64(len(d.trees)) / d.unit)
}

// pathLength is the average depth of a leaf among n, c(n) of the paper (eq. 1).
func pathLength(n int) float64 {
	if n <= 1 {
		return 0
	}
	m := float64(n)
	const gamma = 0.5772156649015329
	if n == 2 {
		return 1
	}
	return 2*(math.Log(m-1)+gamma) - 2*(m-1)/m
}
