// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package cgroupfs gives access to cgroup v2 directories by the kernel's cgroup
// id, through directory file descriptors.
//
// A cgroup id is the inode number of the cgroup's directory. It is never reused
// for another cgroup while the machine runs, so a [Dir] opened by id is the
// cgroup that was meant or none at all ([ErrGone]); a path or a pid may already
// belong to somebody else. Every read and write goes through openat on the
// directory's descriptor, never follows a symbolic link and never leaves the
// root's file system.
//
// The package promises that it never parks a goroutine on a cgroup file: files
// are opened with explicit flags and read and written by system call, not
// through the runtime's poller, which some cgroup files hang for good. It
// refuses to decide anything: what may be written is internal/guard's business.
//
// The word "max" in a limit file is [arc.Unlimited]. Everything also works on a
// plain directory tree, where a cgroup is a directory and its id the inode
// number, so that decisions can be tested against a fake; extended attributes
// then come from an [Attributes] of the test's choice.
//
// The data's next stop is internal/guard for orders, and the ebpf receiver for
// sweeps on kernels without cgroup iterators.
package cgroupfs
