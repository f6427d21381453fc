// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MemoryRemedy says how cgroup v2 gets the memory controller that it, or what
// is below its directory root, does not have. Without a root it speaks of how
// the machine was booted.
func MemoryRemedy(root string) string {
	// A file that cannot be read says nothing, and the other may still.
	cgroups, _ := os.ReadFile("/proc/cgroups")
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	return memoryRemedy(root, string(cgroups), string(mountinfo))
}

func memoryRemedy(root, cgroups, mountinfo string) string {
	switch {
	case root != "" && HasController(root, "memory"):
		return "write +memory to " + filepath.Join(root, "cgroup.subtree_control")
	case memoryOnV1(cgroups, mountinfo):
		return "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=memory)"
	}
	return "boot without cgroup_disable=memory"
}

// memoryOnV1 says whether a v1 hierarchy has the memory controller, which no v2
// hierarchy can have then.
func memoryOnV1(cgroups, mountinfo string) bool {
	for line := range strings.Lines(cgroups) {
		// "#subsys_name hierarchy num_cgroups enabled"; hierarchy 0 is v2's.
		if f := strings.Fields(line); len(f) > 1 && f[0] == "memory" && f[1] != "0" {
			return true
		}
	}
	for line := range strings.Lines(mountinfo) {
		_, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(after) // type, source, options
		if len(f) > 2 && f[0] == "cgroup" && slices.Contains(strings.Split(f[2], ","), "memory") {
			return true
		}
	}
	return false
}
