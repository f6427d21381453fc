// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupsweep"
	"github.com/otelcol-reflex/reflex/internal/procfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// Who adds a dimension puts it into the table of one source; this fails until it
// is there, and when it is there twice.
func TestEveryDimensionIsInTheTableOfOneSource(t *testing.T) {
	programs := map[string][]string{}
	for _, n := range bpf.Needs() {
		if n.Program.Name == "" || n.Program.Name == "begin_reclaim" || n.Program.Name == "count_synack" {
			continue // the latter two are of one probe with end_reclaim and count_retransmit
		}
		for _, f := range n.Node {
			programs[arc.NodeFields[f].Name] = append(programs[arc.NodeFields[f].Name], n.Requirement)
		}
		for _, f := range n.Cgroup {
			programs[arc.CgroupFields[f].Name] = append(programs[arc.CgroupFields[f].Name], n.Requirement)
		}
	}
	files := map[string][]string{}
	for _, path := range procfs.Paths() {
		for _, f := range procfs.FieldsOf(path) {
			files[arc.NodeFields[f].Name] = append(files[arc.NodeFields[f].Name], path)
		}
	}
	for f, d := range arc.NodeFields {
		assert.LessOrEqual(t, len(programs[d.Name]), 1, "%s is filled by %v", d.Name, programs[d.Name])
		assert.LessOrEqual(t, len(files[d.Name]), 1, "%s is read from %v", d.Name, files[d.Name])
		assert.NotZero(t, len(programs[d.Name])+len(files[d.Name]), "nobody fills %s (%d)", d.Name, f)
	}
	for file, fields := range LookedAt {
		for _, f := range fields {
			programs[arc.CgroupFields[f].Name] = append(programs[arc.CgroupFields[f].Name], file)
		}
	}
	for f, d := range arc.CgroupFields {
		assert.Len(t, programs[d.Name], 1, "%s is filled by %v", d.Name, programs[d.Name])
		if name, _ := cgroupsweep.File(arc.CgroupField(f)); programs[d.Name][0] == "iter/cgroup" {
			assert.NotEmpty(t, name, "no file takes the iterator's place for %s", d.Name)
		} else {
			assert.Empty(t, name, d.Name)
		}
	}
}

// Whatever this package can name as missing, somebody can be told what it is
// for. Names made of parts are those of the other packages' requirements, which
// they list.
func TestEveryNameOfSomethingMissingIsKnown(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("the sources are not here: the test runs on another machine")
	}
	named := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			literal, isLiteral := call.Args[0].(*ast.BasicLit)
			if !ok || !isLiteral || method.Sel.Name != "lack" {
				return true
			}
			requirement, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			_, known := NeedOf(requirement)
			assert.True(t, known, "%s: %q is named, and nobody knows what it is for", name, requirement)
			named++
			return true
		})
	}
	assert.Greater(t, named, 5)
	for _, controller := range []string{"memory", "cpu", "pids", "io"} {
		need, known := NeedOf(controller + " controller")
		assert.True(t, known, controller)
		assert.True(t, need.Kept, controller)
		assert.NotEmpty(t, need.Cgroup, controller)
	}
	for _, path := range procfs.Paths() {
		_, known := NeedOf(procRoot + "/" + path)
		assert.True(t, known, path)
	}
}

// Who is said to read a dimension does, and what is said to be absent is.
func TestOriginsAreTrue(t *testing.T) {
	s := Open(Settings{MaxCgroups: 64}, new(sampler.SystemClock))
	defer s.Close()
	if s.Names != nil {
		defer s.Names.Close()
	}
	n := absent()
	require.NoError(t, s.Node.Read(&n))
	for f, o := range s.NodeOrigins {
		assert.Equal(t, o.Absent(), math.IsNaN(n[f]), "%s: read by %q, is %v", arc.NodeFields[f].Name, o, n[f])
	}
	for _, m := range s.Missing {
		_, known := NeedOf(m.Name)
		assert.True(t, known, m.Name)
	}
	if s.Cgroups == nil {
		return
	}
	var sweep arc.Sweep
	require.NoError(t, s.Cgroups.Sweep(&sweep))
	for f, o := range s.CgroupOrigins {
		seen := false
		for row := range sweep.Len() {
			seen = seen || sweep.Value(arc.CgroupField(f), row) != arc.Absent
		}
		if seen {
			assert.False(t, o.Absent(), "%s is read, and said to be absent", arc.CgroupFields[f].Name)
		}
	}
}

// Without BPF, what only BPF can tell is absent, and the rest is from files.
func TestTheEffectOfHavingNoBPF(t *testing.T) {
	s := &Sources{}
	s.openNodeFrom(nil)
	defer s.Close()
	e := s.EffectOf("eBPF")
	assert.Contains(t, e.Absent, "system.process.execs")
	assert.Contains(t, e.Absent, "system.syscall.rate")
	assert.NotContains(t, e.Absent, "system.process.forks")
	instead := map[string]string{}
	for _, file := range e.Instead {
		for _, d := range file.Dimensions {
			instead[d] = file.File
		}
		if strings.HasPrefix(file.File, "/proc/pressure") {
			assert.Equal(t, "2s", file.Age.String(), file.File)
		}
	}
	assert.Equal(t, "/proc/stat", instead["system.process.forks"])
	assert.Equal(t, "/proc/vmstat", instead["system.paging.faults"])
	assert.NotContains(t, instead, "system.memory.used", "that has always been read from there")

	assert.Empty(t, s.EffectOf("/proc/meminfo").Absent)
}

func TestTheEffectOfAControllerThatIsNotThere(t *testing.T) {
	root := t.TempDir() // lists no controller, and is no cgroup v2
	s := &Sources{}
	s.openCgroups(Settings{CgroupRoot: root, MaxCgroups: 8}, new(sampler.SystemClock))
	defer s.Close()
	defer s.Names.Close()
	for requirement, absent := range map[string]string{
		"memory controller": "cgroup.memory.usage",
		"cpu controller":    "cgroup.cpu.throttled.time",
		"pids controller":   "cgroup.pids.count",
		"io controller":     "cgroup.disk.io.read",
		"PSI of cgroups":    "cgroup.pressure.io.full",
	} {
		assert.Contains(t, s.EffectOf(requirement).Absent, absent, requirement)
	}
	assert.Contains(t, s.EffectOf("memory controller").Absent, "cgroup.memory.anon")
	iterator := s.EffectOf("iter/cgroup")
	require.NotEmpty(t, iterator.Instead)
	assert.Equal(t, "cpu.stat", iterator.Instead[0].File)
	assert.Equal(t, []string{"cgroup.cpu.time"}, iterator.Instead[0].Dimensions)
	assert.Equal(t, "1s", iterator.Instead[0].Age.String())
}
