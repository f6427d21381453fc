// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// What is in the files TestHost... does to the machine what other scenarios
// cannot be asked to live with: they have a machine of their own. These come first,
// because a controller that any cgroup of v2 ever had stays with v2.

// withoutControllers takes the controllers from v2 until the test ends.
func withoutControllers(t *testing.T) {
	t.Helper()
	control := filepath.Join(Root, "cgroup.subtree_control")
	require.NoError(t, os.WriteFile(control, []byte("-memory -cpu -io -pids"), 0))
	t.Cleanup(func() {
		// v1 lets go of them a moment after its last user.
		Eventually(t, 20*time.Second, func() error { return os.WriteFile(control, []byte("+memory +cpu +io +pids"), 0) })
	})
}

// complete are the metrics of the node on this kernel.
func complete(t *testing.T) (names []string) {
	t.Helper()
	src := sources.Open(sources.Settings{NodeOnly: true}, new(sampler.SystemClock))
	defer src.Close()
	var n arc.Node
	for f := range n {
		n[f] = math.NaN()
	}
	require.NoError(t, src.Node.Read(&n))
	for f, v := range n {
		if !math.IsNaN(v) {
			names = append(names, arc.NodeFields[f].Name)
		}
	}
	return names
}

// seen waits until the collector has delivered something, and returns the metrics
// of the node and those of cgroups, by path.
func seen(t *testing.T, path string) (node []string, cgroups map[string]map[string]float64) {
	t.Helper()
	all := Delivered(t, path)
	require.NotEmpty(t, all)
	cgroups = map[string]map[string]float64{}
	for i, md := range all {
		for _, p := range Points(md) {
			if _, cgroup := p.Resource["reflex.cgroup.id"]; !cgroup {
				if i == len(all)-1 {
					node = append(node, p.Name)
				}
				continue
			}
			name, _ := p.Resource["reflex.cgroup.path"].(string)
			if cgroups[name] == nil {
				cgroups[name] = map[string]float64{}
			}
			cgroups[name][p.Name] = p.DoubleValue() + float64(p.IntValue())
		}
	}
	return node, cgroups
}

// probed runs reflexctl probe where cgroups are mounted like that.
func probed(t *testing.T, kind string) (output string, exit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=legacy:"+kind+":/bin/reflexctl probe")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("run reflexctl probe: %v", err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// lacks returns what the status says of a missing thing.
func lacks(t *testing.T, s Status, name string) (cause, remedy string) {
	t.Helper()
	for _, m := range s.Missing {
		if m.Name == name {
			return m.Cause, m.Remedy
		}
	}
	t.Errorf("the status does not say that %s is missing: %v", name, s.Missing)
	return "", ""
}

const incomplete = 3 // reflexctl probe's exit code

// On a hybrid host v2 has cgroups and no controllers.
func TestHostWithHybridCgroups(t *testing.T) {
	want := complete(t)
	withoutControllers(t)
	guardian := &Guard{cgroup: MakeCgroup(t, "/guard"), client: guard.Dial(guard.DefaultSocket)}
	t.Cleanup(func() { _ = guardian.client.Close() })
	guardian.Again(t)
	metrics := filepath.Join(t.TempDir(), "metrics.jsonl")
	collector := StartCollector(t, Setup{Role: "legacy:hybrid", Cgroup: "/collector", Metrics: metrics})
	s := sampling(t, collector)
	Eventually(t, 10*time.Second, func() (err error) {
		if s, err = read[Status]("/status"); err == nil && !s.Guard.Reachable {
			err = errTooEarly
		}
		return err
	})

	assert.Equal(t, "enforce", s.Mode.Requested)
	assert.Equal(t, "observe", s.Mode.Effective, "although the guard answers")
	assert.Contains(t, s.Problem, "nothing can be contained")
	assert.Contains(t, s.Problem, "systemd.unified_cgroup_hierarchy=1")
	assert.GreaterOrEqual(t, s.Input.Cgroups, 3, "the root, the guard's and the collector's")
	for _, controller := range []string{"memory", "cpu", "pids", "io"} {
		cause, remedy := lacks(t, s, controller+" controller")
		assert.Contains(t, cause, Root+"/unified")
		assert.Contains(t, remedy, "systemd.unified_cgroup_hierarchy=1")
		said(t, collector, controller+" controller")
	}

	collector.Stop(t)
	node, cgroups := seen(t, metrics)
	assert.ElementsMatch(t, want, node, "the node is sensed as ever")
	own := cgroups["/collector"]
	assert.Positive(t, own["cgroup.cpu.time"])
	assert.Contains(t, own, "cgroup.pressure.cpu.some")
	for path, metrics := range cgroups {
		for name := range metrics {
			assert.False(t, strings.HasPrefix(name, "cgroup.memory") || strings.HasPrefix(name, "cgroup.pids") || strings.HasPrefix(name, "cgroup.cpu.throttled"),
				"%s of %s is absent and not %v", name, path, metrics[name])
		}
	}

	output, exit := probed(t, "hybrid")
	assert.Equal(t, incomplete, exit, "%s", output)
	for _, has := range []string{"cgroup v2", "iter/cgroup", "PSI"} {
		assert.Regexp(t, `(?m)^ *✓ `+has+`\b`, output)
	}
	for _, lacks := range []string{"memory", "cpu", "pids", "io"} {
		assert.Regexp(t, `(?m)^ *✗ `+lacks+` controller\b`, output)
	}
	assert.Contains(t, output, "systemd.unified_cgroup_hierarchy=1")
}

// A host with nothing but v1 has no cgroup that Reflex knows.
func TestHostWithCgroupV1(t *testing.T) {
	want := complete(t)
	withoutControllers(t)
	metrics := filepath.Join(t.TempDir(), "metrics.jsonl")
	collector := StartCollector(t, Setup{Role: "legacy:v1", Cgroup: "/collector", Metrics: metrics})
	s := sampling(t, collector)
	assert.Equal(t, "observe", s.Mode.Effective)
	assert.Contains(t, s.Problem, "nothing can be contained")
	assert.Zero(t, s.Input.Cgroups)
	cause, remedy := lacks(t, s, "cgroup v2")
	assert.Contains(t, cause, "only cgroup v1")
	assert.Contains(t, remedy, "systemd.unified_cgroup_hierarchy=1")
	said(t, collector, "only cgroup v1")

	collector.Stop(t)
	node, cgroups := seen(t, metrics)
	assert.ElementsMatch(t, want, node, "the node is sensed as ever")
	assert.Empty(t, cgroups)

	output, exit := probed(t, "v1")
	assert.Equal(t, incomplete, exit, "%s", output)
	assert.Regexp(t, `✗ cgroup v2 .*\n *why +no cgroup v2 file system is mounted, only cgroup v1`, output)
	assert.Contains(t, output, "systemd.unified_cgroup_hierarchy=1")
}
