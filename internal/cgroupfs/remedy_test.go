// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheRemedyForMemoryFollowsWhereTheControllerIs(t *testing.T) {
	const (
		head    = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t10\t1\n"
		v2      = "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,memory_recursiveprot\n"
		freezer = "31 24 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
		memory  = "32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

		onV1     = "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=memory)"
		disabled = "boot without cgroup_disable=memory"
	)
	without, with := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(without, "cgroup.controllers"), []byte("cpu\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(with, "cgroup.controllers"), []byte("cpu memory\n"), 0o600))
	for name, c := range map[string]struct{ root, cgroups, mounts, want string }{
		"on v1":                   {without, head + "memory\t4\t20\t1\n", v2, onV1},
		"on v1, without a root":   {"", head + "memory\t4\t20\t1\n", v2, onV1},
		"mounted as v1":           {without, "", v2 + freezer + memory, onV1},
		"disabled":                {without, head + "memory\t0\t1\t0\n", v2 + freezer, disabled},
		"disabled, without root":  {"", head + "memory\t0\t1\t0\n", v2, disabled},
		"not in this kernel":      {without, head, v2, disabled},
		"nothing can be read":     {without, "", "", disabled},
		"there, but not given on": {with, head + "memory\t0\t80\t1\n", v2, "write +memory to " + with + "/cgroup.subtree_control"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, controllerRemedy(c.root, "memory", c.cgroups, c.mounts))
		})
	}
}

func TestTheIOControllerHasAnotherNameOnV1(t *testing.T) {
	const mounts = "33 24 0:29 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
	assert.Equal(t, "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=blkio)",
		controllerRemedy("", "io", "blkio\t5\t9\t1\n", ""))
	assert.Contains(t, controllerRemedy("", "io", "", mounts), "cgroup_no_v1=blkio")
	assert.Equal(t, "boot without cgroup_disable=blkio", controllerRemedy("", "io", "blkio\t0\t9\t0\n", ""))
	assert.Equal(t, "boot with systemd.unified_cgroup_hierarchy=1 (or cgroup_no_v1=pids)",
		controllerRemedy("", "pids", "pids\t5\t9\t1\n", ""))
}
