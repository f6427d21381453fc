// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// variables are the kernel's per-CPU variables in use (headers/percpu.h).
var variables = [...]string{"runqueues", "kernel_cpustat", "vm_event_states", "system_group_pcpu", "psi_seq"}

// fit tells the programs of spec where in the per-CPU section the kernel keeps
// each of its variables, and how to load from there. What a kernel does not have
// keeps the place that means nowhere.
func fit(spec *ebpf.CollectionSpec, kernel *btf.Spec) error {
	settleCast(spec, kernel)
	var section *btf.Datasec
	if err := kernel.TypeByName(".data..percpu", &section); err != nil {
		return fmt.Errorf("find the per-CPU variables in the kernel's BTF: %w", classify(err))
	}
	offsets := make(map[string]uint32, len(section.Vars))
	for _, v := range section.Vars {
		offsets[v.Type.TypeName()] = v.Offset
	}
	for _, name := range variables {
		offset, known := offsets[name]
		variable, used := spec.Variables[name]
		if !known || !used {
			continue
		}
		if err := variable.Set(offset); err != nil {
			return fmt.Errorf("place %s: %w", name, err)
		}
	}
	return nil
}

// coreOptions relocates against kernel, which is slow to read a second time.
func coreOptions(kernel *btf.Spec) *ebpf.CollectionOptions {
	return &ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: kernel}}
}
