// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sampling waits until the collector samples, whatever it has to do without.
func sampling(t *testing.T, c *Collector) Status {
	t.Helper()
	c.AwaitStatus(t)
	var s Status
	// A verifier that refuses one program after another, and says why, takes 20 s of
	// a slow emulated machine.
	Eventually(t, time.Minute, func() (err error) {
		if s, err = read[Status]("/status"); err == nil && (s.Input.Sequence < 5 || s.Input.Stale) {
			err = fmt.Errorf("input is at sample %d, stale: %v", s.Input.Sequence, s.Input.Stale)
		}
		return err
	})
	return s
}

// said waits until the collector's log names something.
func said(t *testing.T, c *Collector, what string) {
	t.Helper()
	Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(c.Output(), what) {
			return fmt.Errorf("the log does not name %q", what)
		}
		return nil
	})
}

func TestWithoutGuardItObservesUntilThereIsOne(t *testing.T) {
	collector := StartCollector(t, Setup{})
	s := sampling(t, collector)
	assert.Equal(t, "enforce", s.Mode.Requested)
	assert.Equal(t, "observe", s.Mode.Effective)
	assert.Contains(t, s.Problem, "/run/reflex/guard.sock")
	said(t, collector, "/run/reflex/guard.sock")

	StartGuard(t)
	Eventually(t, 10*time.Second, func() error {
		s, err := read[Status]("/status")
		if err == nil && s.Mode.Effective != "enforce" {
			err = fmt.Errorf("still in mode %s: %s", s.Mode.Effective, s.Problem)
		}
		return err
	})
}

var (
	nobody = User{ID: 65534}
	// sensing is whom docs/privileges.md promises all there is to see.
	sensing = User{ID: nobody.ID, Capabilities: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}}
)

// TestProbeNamesWhatIsMissing compares what reflexctl probe says where everything
// is there and where one thing is not.
func TestProbeNamesWhatIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		user   User
		role   string
		exit   int
		lacks  []string
		has    []string
		remedy string
	}{
		"nothing":                             {exit: 0},
		"privilege":                           {user: nobody, exit: incomplete, lacks: []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"}, remedy: "cap_bpf"},
		"BTF":                                 {role: "hiding:/sys/kernel/btf:", exit: incomplete, lacks: []string{"BTF"}, remedy: "CONFIG_DEBUG_INFO_BTF"},
		"cgroup v2":                           {role: "hiding:/sys/fs/cgroup:", exit: incomplete, lacks: []string{"cgroup v2"}, remedy: "mount"},
		"two capabilities suffice to observe": {user: sensing, exit: incomplete, lacks: []string{"CAP_SYS_ADMIN"}, has: []string{"CAP_BPF", "CAP_PERFMON", "BTF", "iter/cgroup"}},
		"capability":                          {role: "without:21:", exit: incomplete, lacks: []string{"CAP_SYS_ADMIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			argv, env := []string{"/bin/reflexctl", "probe", "--mode", "enforce"}, []string(nil)
			if tc.role != "" {
				argv, env = os.Args[:1], []string{roleEnv + "=" + tc.role + strings.Join(argv, " ")}
			}
			probe := StartAs(t, "probe", MakeCgroup(t, "/probe"), tc.user, env, argv...)
			select {
			case <-probe.Ended():
			case <-time.After(40 * time.Second):
				t.Fatal("probe does not end")
			}
			assert.Equal(t, tc.exit, probe.ExitCode(), "%s", probe.Output())
			for _, what := range tc.lacks {
				assert.Regexp(t, `(?m)^ *✗ `+what+`\b`, probe.Output())
			}
			for _, what := range tc.has {
				assert.Regexp(t, `(?m)^ *✓ `+what+`\b`, probe.Output())
			}
			assert.Contains(t, probe.Output(), tc.remedy)
		})
	}
}

// lacking starts a collector and returns the names of what it says is missing.
func lacking(t *testing.T, s Setup) map[string]bool {
	t.Helper()
	s.Mode, s.Guard = "observe", "none"
	collector := StartCollector(t, s)
	status := sampling(t, collector)
	require.Equal(t, "ebpf", status.Input.Source)
	require.Positive(t, status.Input.Cgroups)
	names := map[string]bool{}
	for _, m := range status.Missing {
		names[m.Name] = true
	}
	collector.Kill(t)
	return names
}

// TestAnyUserWithTwoCapabilitiesSeesWhatRootSees holds docs/privileges.md to its
// word, and that neither capability suffices alone.
func TestAnyUserWithTwoCapabilitiesSeesWhatRootSees(t *testing.T) {
	root := lacking(t, Setup{})
	assert.NotContains(t, root, "eBPF")
	assert.Equal(t, root, lacking(t, Setup{User: sensing}))
	for _, alone := range sensing.Capabilities {
		names := lacking(t, Setup{User: User{ID: nobody.ID, Capabilities: []uintptr{alone}}})
		assert.True(t, names["eBPF"] || names["CAP_BPF"] || names["CAP_PERFMON"], "%v with capability %d alone", names, alone)
	}
}

// TestTrafficOfCgroupsTakesAThirdCapability: any user counts packets with it, and
// who asks without it lacks that and nothing else.
func TestTrafficOfCgroupsTakesAThirdCapability(t *testing.T) {
	root := lacking(t, Setup{Traffic: true})
	assert.NotContains(t, root, "CAP_NET_ADMIN")
	assert.NotContains(t, root, "cgroup_skb")
	counting := User{ID: nobody.ID, Capabilities: append([]uintptr{unix.CAP_NET_ADMIN}, sensing.Capabilities...)}
	assert.Equal(t, root, lacking(t, Setup{User: counting, Traffic: true}))
	root["CAP_NET_ADMIN"] = true
	assert.Equal(t, root, lacking(t, Setup{User: sensing, Traffic: true}))
}

func TestWithoutPrivilegeItReadsWhatAnybodyMay(t *testing.T) {
	collector := StartCollector(t, Setup{Mode: "observe", Guard: "none", User: nobody})
	sampling(t, collector)
	said(t, collector, "CAP_BPF")
}

func TestWithoutBTFItReadsProcAndCgroupfs(t *testing.T) {
	collector := StartCollector(t, Setup{Mode: "observe", Guard: "none", Role: "hiding:/sys/kernel/btf"})
	sampling(t, collector)
	said(t, collector, "BTF")
}

func TestWithoutCgroupV2ItWatchesTheNode(t *testing.T) {
	collector := StartCollector(t, Setup{Mode: "observe", Guard: "none", Role: "hiding:/sys/fs/cgroup"})
	s := sampling(t, collector)
	require.NotEmpty(t, s.Missing)
	assert.Equal(t, "cgroup v2", s.Missing[0].Name)
	assert.NotEmpty(t, s.Missing[0].Remedy)
	said(t, collector, "cgroup")
}
