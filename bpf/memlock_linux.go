// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// memoryCharged is the version from which the kernel charges the memory of BPF to
// a memory cgroup (5.11). Before, it counts as locked memory of the user, of which
// there may be 64 KiB unless somebody raised the limit: less than the maps take.
const memoryCharged = 5<<16 | 11<<8

// raiseLimit takes the limit on locked memory off this process, on kernels where
// BPF needs that. It takes CAP_SYS_RESOURCE, or a hard limit that has been raised.
var raiseLimit = sync.OnceValue(func() error {
	version, err := features.LinuxVersionCode()
	if err != nil || version >= memoryCharged {
		return nil // what the limit keeps out will say so
	}
	none := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &none); err != nil {
		return fmt.Errorf("take the limit on locked memory off: %w", err)
	}
	return nil
})
