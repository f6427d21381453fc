// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package skips

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// module is the module whose packages are named below.
const module = "github.com/otelcol-reflex/reflex/"

// InGuests are tests, by package, that need what the machine of continuous
// integration does not have: controllers on cgroup v2, /proc/schedstat, a disk to
// overwrite, CAP_SYS_RESOURCE, or to be their own. Guests run them.
var InGuests = map[string][]string{
	"bpf": {
		"TestSweepCountsTasks", "TestSweepSeesAQuotaUsedUp", "TestSweepSeesSwap", "TestSweepSeesStallsOnMemoryAndIO",
		"TestNodeSeesMemoryRunOut", "TestPagesSwappedAreCounted", "TestRunQueueDelayAgreesWithSchedstat", "TestTrafficOfTheWholeHierarchy",
	},
	"internal/cgroupstat": {"TestTheKernelCountsWhatTheLoadDoes"},
	"internal/guard":      {"TestALeaseOnTheKernel", "TestEveryKnobOnTheKernel"},
	"internal/sources": {
		"TestTheKernelGivesWhatIsExpectedOfIt", "TestASweepByFilesAgreesWithTheFilesUnderLoad", "TestAnOOMKillIsSeen",
	},
	"internal/wake": {"TestWhoIsPrivilegedIsGrantedTheShortWindow"},
}

// OnHost are tests, by package, that a guest cannot run, because its files are in
// memory and the sources are not there, or its kernel too old. The machine of
// continuous integration runs them.
var OnHost = map[string][]string{
	"bpf": {
		"TestBlockRequestsAgreeWithDiskstats", "TestBlockedTasksAgreeWithProcStat", "TestNodeCountsBlockOperations",
		"TestCostsAreTheDocumentedOnes",
	},
	"internal/sources": {"TestEveryNameOfSomethingMissingIsKnown"},
	"internal/wake":    {"TestAnybodyIsGrantedALongerWindow"},
}

// event is a line of go test -json (go doc test2json).
type event struct{ Action, Package, Test, Output string }

// Filter reads the events of go test -json and writes what go test would have
// written. The error names the tests that were skipped although this machine is to
// run them.
func Filter(in io.Reader, out io.Writer) error {
	held, unknown := map[string][]string{}, []string{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // what go says before it tests
			continue
		}
		key := e.Package + " " + e.Test
		switch {
		case e.Test == "" && e.Output == "PASS\n": // go test keeps it to itself
		case e.Test == "" && (e.Action == "output" || e.Action == "build-output"):
			fmt.Fprint(out, e.Output)
		case e.Action == "output":
			held[key] = append(held[key], e.Output)
		case e.Action == "fail":
			fmt.Fprint(out, strings.Join(held[key], ""))
		case e.Action == "skip" && e.Test != "" && !slices.Contains(InGuests[strings.TrimPrefix(e.Package, module)], e.Test):
			fmt.Fprint(out, strings.Join(held[key], ""))
			unknown = append(unknown, key)
		}
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			delete(held, key)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the tests' events: %w", err)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("skipped, and no guest is known to run it (test/skips): %s", strings.Join(unknown, ", "))
	}
	return nil
}
