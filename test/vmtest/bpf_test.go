// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/skips"
)

// expected is what is known of a kernel beforehand, as the tests of
// internal/sources understand it.
type expected struct {
	// Missing are the requirements that are not met, Absent the dimensions that
	// nobody fills.
	Missing []string `json:"missing"`
	Absent  []string `json:"absent"`
	// Iterator says that cgroups are swept by BPF.
	Iterator bool `json:"iterator"`
}

// matrix is what is expected of each kernel. It is the table of docs/sensing.md:
// what is not as it says, more or less, fails a test.
var matrix = map[string]expected{
	"5.10": {
		Missing: []string{"syscall/sample_node", "iter/cgroup", "cgroup_skb"},
		Absent: []string{
			"system.process.uninterruptible",
			"cgroup.network.io.received", "cgroup.network.io.sent",
			"cgroup.network.packets.received", "cgroup.network.packets.sent", "cgroup.network.tcp.opens",
		},
	},
	"6.1":  {Iterator: true},
	"6.12": {Iterator: true},
	"7":    {Iterator: true},
}

// testSuite is the tests of a package that are run in the guest.
type testSuite struct {
	Name    string
	Command []string
	Env     []string
	pkg     string
	// passes are tests that would be skipped where something is not there that
	// should be.
	passes []string
}

// suites are what is run on a kernel, in this order.
func suites(t *testing.T, name string) []testSuite {
	t.Helper()
	want := matrix[name]
	text, err := json.Marshal(expected{append([]string{}, want.Missing...), append([]string{}, want.Absent...), want.Iterator})
	require.NoError(t, err)
	// The machine is the test's own: it may be used up.
	const own = "REFLEX_TEST_EXHAUST=1"
	events := []string{
		"TestEventsStandAlone", "TestNodeCountsProcesses", "TestNodeCountsRetransmissions", "TestForksAgreeWithProcStat",
		"TestNodeCountsConnectionsBegun", "TestNodeTellsWhereConnectionsGo", "TestNodeAgreesWithTheKernelsRetransmissions",
		"TestSystemCallsAreCountedInTheWindowOnly", "TestSystemCallRateAndEntropyAreTheCallers",
	}
	// What acts on packets takes minutes of an emulated machine: on this kernel only.
	const acting = "^(TestWhatIsNeverCut|TestReserves|TestAFrameThat|TestExtensionHeaders|TestSessionsOfBefore|TestAPrefixWithin|" +
		"TestPastIts|TestPastTheir|TestASource|TestAFlood|TestKnownSources|TestQuarantine|TestLoopbackIs|TestAThrottle|TestAShield|TestADriver)"
	bpf := testSuite{Name: "bpf", pkg: "./bpf", Command: []string{"-test.timeout=600s", "-test.skip=" + acting}, Env: []string{own}, passes: events}
	if !want.Iterator {
		bpf.Command = append(bpf.Command, "-test.run=^("+strings.Join(events, "|")+")$") // the rest would be skipped
	} else {
		bpf.Env = append(bpf.Env, "REFLEX_REQUIRE_BPF=1")
		bpf.passes = append(bpf.passes, skips.InGuests["bpf"]...)
	}
	sources := testSuite{
		Name: "sources", pkg: "./internal/sources",
		Command: []string{"-test.timeout=170s"},
		Env:     []string{own, "REFLEX_REQUIRE_BPF=1", "REFLEX_TEST_EXPECTED=" + string(text)},
		passes:  []string{"TestTheKernelGivesWhatIsExpectedOfIt", "TestASweepByFilesAgreesWithTheFilesUnderLoad", "TestBPFAgreesWithProc"},
	}
	wakes := []string{"TestWithoutBPFStallsAreSeenByTriggers"}
	if want.Iterator {
		wakes = append(wakes, "TestBPFSeesEveryCause", "TestAnOOMKillIsSeen", "TestTrafficOfCgroupsIsCountedWhenWanted", "TestTheEffectOfAProgramThatIsRefused")
		sources.passes = append(sources.passes, wakes...)
	} else {
		sources.passes = append(sources.passes, wakes...)
		sources.Command = append(sources.Command, "-test.run=^("+strings.Join(sources.passes, "|")+")$") // the rest would fail
	}
	wake := testSuite{
		Name: "wake", pkg: "./internal/wake",
		Command: []string{"-test.run=^(TestAStallTriggers|TestWhoIsPrivilegedIsGrantedTheShortWindow|TestAnybodyIsGrantedALongerWindow)$", "-test.timeout=90s"},
		Env:     []string{own},
		passes:  []string{"TestAStallTriggers", "TestWhoIsPrivilegedIsGrantedTheShortWindow"},
	}
	cgroupstat := testSuite{
		Name: "cgroupstat", pkg: "./internal/cgroupstat",
		Command: []string{"-test.run=^TestTheKernelCountsWhatTheLoadDoes$", "-test.timeout=60s"},
		Env:     []string{"REFLEX_TEST_DISK=/dev/nullb0"},
		passes:  []string{"TestTheKernelCountsWhatTheLoadDoes"},
	}
	guard := testSuite{ // a real lease needs cgroup v2 with its controllers
		Name: "guard", pkg: "./internal/guard",
		Command: []string{"-test.run=^(TestALeaseOnTheKernel|TestEveryKnobOnTheKernel)$", "-test.timeout=120s"},
		Env:     []string{"REFLEX_TEST_DISK=/dev/nullb0"},
		passes:  []string{"TestALeaseOnTheKernel", "TestEveryKnobOnTheKernel"},
	}
	if !want.Iterator { // 5.10: the lease, as ever
		guard.Command[0], guard.passes = "-test.run=^TestALeaseOnTheKernel$", guard.passes[:1]
	}
	return []testSuite{wake, sources, cgroupstat, guard, bpf} // the last uses the machine up
}

// TestOnDebianKernels runs, on each kernel of the matrix, the tests that compare
// with the kernel's own word, as they are: what passes on the kernel that happens
// to run here need not on another. One boot serves them all.
func TestOnDebianKernels(t *testing.T) {
	cat, runner := buildGuest(t, "./internal/guestprobe"), buildGuest(t, "./internal/suites")
	binaries := map[string]string{}
	for _, s := range suites(t, kernels[0]) {
		binaries[s.pkg] = compileTests(t, "../..", s.pkg)
	}
	for _, name := range kernels {
		t.Run(name, func(t *testing.T) {
			k := fetch(t, name)
			all := suites(t, name)
			files := []File{{Guest: "/bin/suites", Host: runner}, {Guest: "/bin/cat", Host: cat}}
			for i, s := range all {
				guest := "/bin/" + s.Name + ".test"
				files = append(files, File{Guest: guest, Host: binaries[s.pkg]})
				all[i].Command = append([]string{guest, "-test.v"}, s.Command...)
			}
			plan, err := json.Marshal(all)
			require.NoError(t, err)
			var output bytes.Buffer
			m := &Machine{
				Kernel:  k,
				Files:   append(files, File{Guest: "/etc/suites.json", Data: plan}),
				Command: []string{"/bin/suites", "/etc/suites.json"},
				Output:  &output, Timeout: 15 * time.Minute,
				Modules: []string{"null_blk"}, // a disk, and what is swapped to
			}
			_, err = m.Run(context.Background(), "")
			require.NoError(t, err, "%s", output.String())
			said := cut(output.String())
			for _, s := range all {
				t.Run(s.Name, func(t *testing.T) {
					require.Contains(t, said, s.Name, "%s", output.String())
					got := said[s.Name]
					t.Log(got.output)
					assert.Zero(t, got.exit)
					for _, skip := range skipped.FindAllStringSubmatch(got.output, -1) {
						assert.Contains(t, skips.OnHost[strings.TrimPrefix(s.pkg, "./")], skip[1], "nobody runs it")
					}
					for _, test := range s.passes {
						assert.Contains(t, got.output, "--- PASS: "+test+" ")
					}
				})
			}
		})
	}
}

// outcome is what a suite said and ended with.
type outcome struct {
	output string
	exit   int
}

var skipped = regexp.MustCompile(`(?m)^ *--- SKIP: (\w+) `)

var suiteEnds = regexp.MustCompile(`(?m)^suites: (\w+) exits with (\d+) after .*\n`)

// cut cuts what a machine said at the ends of its suites.
func cut(output string) map[string]outcome {
	output = LastBoot(output)
	said := map[string]outcome{}
	begin := 0
	for _, at := range suiteEnds.FindAllStringSubmatchIndex(output, -1) {
		exit, _ := strconv.Atoi(output[at[4]:at[5]])
		said[output[at[2]:at[3]]] = outcome{strings.TrimSpace(output[begin:at[1]]), exit}
		begin = at[1]
	}
	return said
}

func TestWhatABootSaidThatFaultedIsNoSuites(t *testing.T) {
	first := "--- SKIP: TestOfTheLastSuite (0.00s)\n"
	second := "--- PASS: TestOfTheFirst (0.10s)\nsuites: wake exits with 0 after 0.8 s\n--- FAIL: TestOther (1.00s)\nsuites: bpf exits with 1 after 2.0 s\n"
	fault := "suites: wake exits with 3 after 0.8 s\n" + first + "vmtest: the emulated machine faulted (int3: 0000)" + bootsAgain
	for name, output := range map[string]string{"one boot": second, "two": fault + second} {
		said := cut(output)
		require.Len(t, said, 2, name)
		assert.Equal(t, outcome{"--- PASS: TestOfTheFirst (0.10s)\nsuites: wake exits with 0 after 0.8 s", 0}, said["wake"], name)
		assert.Equal(t, 1, said["bpf"].exit, name)
	}
}

// What the host skips is among what some kernel must pass.
func TestEveryTestThatTheHostSkipsPassesInAGuest(t *testing.T) {
	passes := map[string][]string{}
	for _, s := range suites(t, "6.12") {
		passes[strings.TrimPrefix(s.pkg, "./")] = s.passes
	}
	for pkg, tests := range skips.InGuests {
		assert.Subset(t, passes[pkg], tests, pkg)
	}
}

// compileTests builds the test binary of a package of the module in dir.
func compileTests(t *testing.T, dir, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	if _, err := os.Stat(binary); errors.Is(err, os.ErrNotExist) {
		t.Fatalf("%s has no tests", pkg) // go test -c writes nothing then
	}
	return binary
}
