// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// filled are the fields that have been written to n.
func filled(n *arc.Node) []arc.NodeField {
	var fields []arc.NodeField
	for f, v := range n {
		if !math.IsNaN(v) {
			fields = append(fields, arc.NodeField(f))
		}
	}
	return fields
}

// What a probe or a part says that it fills is what its code writes, no more and
// no less.
func TestTablesListWhatIsFilled(t *testing.T) {
	for _, p := range probes {
		n := absent()
		p.fill(&counted{}, n)
		assert.ElementsMatch(t, p.fields, filled(n), p.programs)
	}
	for _, p := range parts {
		n := absent()
		(&Node{parts: p.bit}).fill(&nodeNodeSample{}, n)
		assert.ElementsMatch(t, p.fields, filled(n), p.name)
	}
	n := absent()
	(&Node{parts: partPressure}).fill(&nodeNodeSample{}, n)
	assert.ElementsMatch(t, stalls[:], filled(n))

	n = absent()
	calls := &Syscalls{}
	calls.latest.Store(&callRate{})
	require.NoError(t, calls.Read(n))
	assert.ElementsMatch(t, syscallFields, filled(n))

	var s arc.Sweep
	(&Cgroups{page: 4096}).fill(make([]cgroupCgroupRow, 1), &s)
	var written []arc.CgroupField
	for f, column := range s.Columns {
		if len(column) > 0 {
			written = append(written, arc.CgroupField(f))
		}
	}
	assert.ElementsMatch(t, columns[:], written)
}

// Each dimension is read by one program.
func TestADimensionHasOneProgram(t *testing.T) {
	programs := map[string]string{}
	for _, n := range Needs() {
		if n.Program.Name == "" || n.Program.Name == "begin_reclaim" || n.Program.Name == "count_synack" {
			continue // the latter two are of one probe with end_reclaim and count_retransmit
		}
		assert.Positive(t, len(n.Node)+len(n.Cgroup), "%s fills nothing", n.Requirement)
		for _, f := range n.Node {
			assert.Empty(t, programs[arc.NodeFields[f].Name], "%s and another fill %s", n.Requirement, arc.NodeFields[f].Name)
			programs[arc.NodeFields[f].Name] = n.Requirement
		}
		for _, f := range n.Cgroup {
			assert.Empty(t, programs[arc.CgroupFields[f].Name], "%s and another fill %s", n.Requirement, arc.CgroupFields[f].Name)
			programs[arc.CgroupFields[f].Name] = n.Requirement
		}
	}
}

func TestEveryProgramSaysWhatItCosts(t *testing.T) {
	said := map[string]Program{}
	for _, p := range Programs {
		assert.NotContains(t, said, p.Name)
		said[p.Name] = p
		assert.Positive(t, p.Cost, p.Name)
		assert.Regexp(t, `^an? `, p.Event, p.Name)
	}
	all := 0
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadNode, loadEvents, loadSysenter, loadCgroup, loadTraffic} {
		spec, err := load()
		require.NoError(t, err)
		for name, program := range spec.Programs {
			all++
			require.Contains(t, said, name, "a program without a line in Programs")
			section := program.SectionName
			if section == "syscall" { // says nothing of what it is
				section += "/" + name
			}
			switch name {
			case "count_received", "count_sent": // of one requirement
				section = "cgroup_skb"
			case "count_open": // of another than count_connect
				section += " by cgroup"
			}
			assert.Equal(t, section, said[name].Section)
		}
	}
	assert.Len(t, said, all, "a line in Programs without a program")
}

// The costs are those of docs/benchmarks.md, as magnitudes: whoever measures
// again and finds others changes both.
func TestCostsAreTheDocumentedOnes(t *testing.T) {
	text, err := os.ReadFile("../docs/benchmarks.md")
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the documents are not here: the test runs on another machine")
	}
	require.NoError(t, err)
	found := 0
	for _, p := range Programs {
		row := regexp.MustCompile("(?m)^\\| `" + p.Name + "` \\| ([0-9.,]+) \\|").FindSubmatch(text)
		if row == nil {
			continue // not measured there
		}
		found++
		ns, err := strconv.ParseFloat(string(regexp.MustCompile(",").ReplaceAll(row[1], nil)), 64)
		require.NoError(t, err)
		assert.InDelta(t, 0, math.Log2(ns/float64(p.Cost.Nanoseconds())), 1, "%s: %v here, %v ns there", p.Name, p.Cost, ns)
	}
	assert.GreaterOrEqual(t, found, 9)
}

// Whatever Probe names, somebody can be told what it is for.
func TestEveryRequirementHasItsNeed(t *testing.T) {
	needs := map[string]bool{}
	for _, n := range Needs() {
		assert.False(t, needs[n.Requirement], "%s is listed twice", n.Requirement)
		needs[n.Requirement] = true
		assert.Positive(t, len(n.Node)+len(n.Cgroup), n.Requirement)
	}
	for _, r := range append(Probe(), ProbeTraffic()...) {
		assert.True(t, needs[r.Name], "%s: nobody knows what it is for", r.Name)
	}
}
