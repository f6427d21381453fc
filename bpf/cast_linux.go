// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// castFunction turns a number into a pointer that may be loaded from (Linux 6.2;
// read_kernel in headers/percpu.h). Programs ask whether it is there.
const castFunction = "bpf_rdonly_cast"

// settleCast answers no, and takes the calls out, where the kernel does not have
// castFunction. Left to the library, it would look for it in the types of every
// kernel module as well, each time a program is loaded.
func settleCast(spec *ebpf.CollectionSpec, kernel *btf.Spec) {
	var found *btf.Func
	if kernel.TypeByName(castFunction, &found) == nil {
		return
	}
	for _, program := range spec.Programs {
		for i, old := range program.Instructions {
			if old.Reference() != castFunction {
				continue
			}
			instead := asm.Mov.Imm(asm.R0, 0) // never reached
			if old.OpCode.IsDWordLoad() {
				instead = asm.LoadImm(old.Dst, 0, asm.DWord)
			}
			program.Instructions[i] = instead.WithSymbol(old.Symbol()).WithSource(old.Source())
		}
	}
}
