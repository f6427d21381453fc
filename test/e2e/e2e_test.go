// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// keepEnv names a directory that receives the guests' artefacts, runEnv a pattern
// of the scenarios to run instead of all.
const (
	keepEnv = "REFLEX_E2E_KEEP"
	runEnv  = "REFLEX_E2E_RUN"
)

// suite is what runs in one boot of a machine.
type suite struct {
	name, kernel, run string
	modules, boot     []string
}

// suites are what runs where: everything on the newer kernel, on the older one
// the arc, and that its leases end; and in a machine of its own what a machine
// does not recover from, on the older kernel because the newer one has no memory
// controller for cgroup v1.
var suites = []suite{
	{name: "6.12", kernel: "6.12", run: "^Test[^H]"}, // TestHarness... is TestHarness's
	{name: "6.1", kernel: "6.1", run: "^TestGuard|^TestKilled"},
	{
		name: "host", kernel: "6.1", run: "^TestHost",
		// What wakes it up is the alarm of the clock itself, not the kernel's
		// imitation of it by another timer.
		modules: []string{"rtc_cmos"}, boot: []string{"hpet=disable"},
	},
}

func TestDistribution(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		vmtest.SkipUnlessRequired(t, vmtest.ErrNoQEMU)
	}
	dist := distribution(t)
	files := []vmtest.File{
		{Guest: "/bin/guest.test", Host: guestTests(t), Mode: 0o755},
		{Guest: "/bin/reflexguard", Host: filepath.Join(dist, "reflexguard"), Mode: 0o755},
		{Guest: "/bin/reflexctl", Host: filepath.Join(dist, "reflexctl"), Mode: 0o755},
		{Guest: "/bin/otelcol-reflex", Host: filepath.Join(dist, "otelcol-reflex"), Mode: 0o755},
		{Guest: "/bin/otelcol-custom", Host: dropIn(t), Mode: 0o755},
		{Guest: "/etc/drop-in.yaml", Host: filepath.Join(repository(t), "examples", "drop-in", "config.yaml"), Mode: 0o644},
	}
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) { runSuite(t, s, files) })
	}
}

// runSuite boots one machine for all scenarios and reports each as a subtest.
func runSuite(t *testing.T, s suite, files []vmtest.File) {
	t.Helper()
	kernel, err := vmtest.Fetch(context.Background(), s.kernel, os.Stderr)
	vmtest.SkipUnlessRequired(t, err)
	run := s.run
	if only := os.Getenv(runEnv); only != "" {
		run = only
	}
	var output bytes.Buffer
	m := &vmtest.Machine{
		Kernel: kernel, Files: files, MemoryMiB: 3072,
		Command: []string{"/bin/guest.test", "-test.v", "-test.timeout=12m", "-test.run=" + run},
		Env:     []string{"REFLEX_E2E=1"}, Modules: s.modules, Boot: s.boot,
		Output:  io.MultiWriter(&output, &progress{began: time.Now(), suite: s.name}),
		Timeout: 13 * time.Minute,
	}
	artefacts := filepath.Join(artefactsDir(t), s.name)
	exit, runErr := m.Run(context.Background(), artefacts)
	results := parseResults(strings.NewReader(vmtest.LastBoot(output.String())))
	for _, r := range results {
		if strings.Contains(r.name, "/") {
			continue // reported by its parent
		}
		t.Run(strings.TrimPrefix(r.name, "Test"), func(t *testing.T) { report(t, r, results) })
	}
	require.NoError(t, runErr)
	require.Zero(t, exit, "the guest's test binary failed")
	require.NotEmpty(t, results, "no scenario ran")
}

// report repeats a guest's test, with its cases, as a test of the host.
func report(t *testing.T, r *result, all []*result) {
	t.Helper()
	for _, c := range all {
		if c == r || strings.HasPrefix(c.name, r.name+"/") {
			t.Logf("%s\n%s", c.name, strings.Join(c.output, "\n"))
		}
	}
	switch r.verdict {
	case "PASS":
	case "SKIP":
		t.Error("skipped in the guest, where everything is there")
	default:
		t.Errorf("%s: %q in the guest", r.name, r.verdict)
	}
}

// artefactsDir is kept when asked for or when a test failed.
func artefactsDir(t *testing.T) string {
	t.Helper()
	if keep := os.Getenv(keepEnv); keep != "" {
		return keep
	}
	dir, err := os.MkdirTemp("", "reflex-e2e-") //nolint:usetesting // outlives a failed test
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the guest's artefacts are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// progress prints, as they begin and end, the names of the tests in the guest.
type progress struct {
	began time.Time
	suite string
	line  []byte
}

func (p *progress) Write(b []byte) (int, error) {
	p.line = append(p.line, b...)
	for {
		line, rest, whole := bytes.Cut(p.line, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		p.line = rest
		if text := string(line); ended.MatchString(text) || strings.HasPrefix(text, "=== RUN") || strings.HasPrefix(text, "vmtest: ") {
			_, _ = os.Stderr.WriteString("e2e " + p.suite + " " + time.Since(p.began).Round(time.Second).String() + " " + strings.TrimSpace(text) + "\n")
		}
	}
}
