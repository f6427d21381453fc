// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a kernel without the function is given is loaded by one with it, too: the
// verifier follows copies where there are no loads. That they read the same is
// tested on Debian's 6.1.
func TestWithoutTheCastNumbersAreCopied(t *testing.T) {
	openNode(t) // skips where there is no BPF
	kernel, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	nothing, err := btf.NewBuilder(nil, nil)
	require.NoError(t, err)
	old, err := nothing.Spec()
	require.NoError(t, err)
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){"node": loadNode, "cgroup": loadCgroup} {
		t.Run(name, func(t *testing.T) {
			spec, err := load()
			require.NoError(t, err)
			require.Greater(t, casts(spec), 10)
			settleCast(spec, old)
			assert.Zero(t, casts(spec))
			require.NoError(t, fit(spec, kernel))
			for _, m := range spec.Maps {
				m.MaxEntries = max(m.MaxEntries, 1)
			}
			loaded, err := ebpf.NewCollectionWithOptions(spec, *coreOptions(kernel))
			require.NoError(t, err)
			loaded.Close()
		})
	}
}

// casts counts the mentions of castFunction.
func casts(spec *ebpf.CollectionSpec) (n int) {
	for _, program := range spec.Programs {
		for _, ins := range program.Instructions {
			if ins.Reference() == castFunction || ins.IsKfuncCall() {
				n++
			}
		}
	}
	return n
}
