// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// UnifiedRemedy says how a machine without cgroup v2 gets it.
const UnifiedRemedy = "boot with systemd.unified_cgroup_hierarchy=1 (without systemd: boot with cgroup_no_v1=all, and mount -t cgroup2 none /sys/fs/cgroup)"

// PressureRemedy says how a machine without pressure stall information gets it.
const PressureRemedy = "boot with psi=1 on a kernel built with CONFIG_PSI=y"

// MemoryRemedy is [ControllerRemedy] for the memory controller.
func MemoryRemedy(root string) string { return ControllerRemedy(root, "memory") }

// ControllerRemedy says how cgroup v2 gets a controller that it, or what is
// below its directory root, does not have. Without a root it speaks of how the
// machine was booted.
func ControllerRemedy(root, controller string) string {
	// A file that cannot be read says nothing, and the other may still.
	cgroups, _ := os.ReadFile("/proc/cgroups")
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	return controllerRemedy(root, controller, string(cgroups), string(mountinfo))
}

func controllerRemedy(root, controller, cgroups, mountinfo string) string {
	switch {
	case root != "" && HasController(root, controller):
		return "write +" + controller + " to " + filepath.Join(root, "cgroup.subtree_control")
	case onV1(controller, cgroups, mountinfo):
		return "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=" + v1Name(controller) + ")"
	}
	return "boot without cgroup_disable=" + v1Name(controller)
}

// v1Name is what v1, and with it the kernel's command line, calls a controller.
func v1Name(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

// onV1 says whether a v1 hierarchy has the controller, which no v2 hierarchy can
// have then.
func onV1(controller, cgroups, mountinfo string) bool {
	name := v1Name(controller)
	for line := range strings.Lines(cgroups) {
		// "#subsys_name hierarchy num_cgroups enabled"; hierarchy 0 is v2's.
		if f := strings.Fields(line); len(f) > 1 && f[0] == name && f[1] != "0" {
			return true
		}
	}
	for line := range strings.Lines(mountinfo) {
		_, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(after) // type, source, options
		if len(f) > 2 && f[0] == "cgroup" && slices.Contains(strings.Split(f[2], ","), name) {
			return true
		}
	}
	return false
}
