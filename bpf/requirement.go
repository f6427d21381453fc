// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import "errors"

// ErrUnsupported says that this kernel or platform does not have what a program
// needs. No privilege would change that.
var ErrUnsupported = errors.New("not supported by this kernel")

// Requirement is one thing that the programs need from machine or privilege.
type Requirement struct {
	// Name is the thing itself, e.g. "BTF", "CAP_BPF" or a program's section,
	// "tp_btf/block_rq_complete".
	Name string
	// Present says whether it is there.
	Present bool
	// Cause says in one line what was found instead; empty when present.
	Cause string
	// Remedy says what to do about it; empty when present.
	Remedy string
}
