// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import "errors"

// What can be missing on the host, or wrong with the emulation. Tests skip on
// the first two and on nothing else ([SkipUnlessRequired]).
var (
	ErrNoQEMU   = errors.New("qemu-system-x86_64 is not installed (apt-get install qemu-system-x86)")
	ErrNoKernel = errors.New("no kernel for the virtual machine")
	ErrEmulator = errors.New("the emulated machine faulted twice")
)
