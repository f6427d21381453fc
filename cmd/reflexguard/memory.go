// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// spareFromOOM asks the kernel to kill this process, and those it starts, after
// everything else but init.
func spareFromOOM(log *slog.Logger) {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0); err != nil {
		log.Warn("not spared by the OOM killer", "cause", err, "remedy", "give the guard CAP_SYS_RESOURCE or OOMScoreAdjust=-999")
	}
}

// lockMemory keeps what was touched once in memory: some 10 MiB instead of the whole
// address space's 85 (measured), thanks to MCL_ONFAULT. Without the privilege
// it must not even try: the limit would then count every later mapping, and the
// Go runtime does not survive a refused one.
func lockMemory(log *slog.Logger) {
	var limit unix.Rlimit
	unlimited := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur == unix.RLIM_INFINITY
	if !unlimited && !mayLockMemory() {
		log.Warn("memory is not locked", "cause", "CAP_IPC_LOCK is not held", "remedy", "give the guard CAP_IPC_LOCK or LimitMEMLOCK=infinity")
		return
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		log.Warn("memory is not locked", "cause", err)
	}
}

func mayLockMemory() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}
