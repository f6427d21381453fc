// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	unified = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
	hybrid  = "33 32 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"42 32 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

func TestThePlaceIsChosenByWhatTheMachineOffers(t *testing.T) {
	const need = 3 << 30
	able := Machine{UID: 0, MountInfo: unified, Free: 8 << 30, Controllers: func(string) (string, error) { return "cpu io memory pids\n", nil }}
	with := func(change func(*Machine)) Machine {
		m := able
		change(&m)
		return m
	}
	for name, tc := range map[string]struct {
		machine Machine
		obst    string
	}{
		"everything":           {able, ""},
		"not root":             {with(func(m *Machine) { m.UID = 1000 }), "not root"},
		"no cgroup v2":         {with(func(m *Machine) { m.MountInfo = "21 1 0:5 / /proc rw - proc proc rw\n" }), "no cgroup v2"},
		"controller elsewhere": {with(func(m *Machine) { m.MountInfo = hybrid; m.Controllers = controllers("") }), "no memory controller"},
		"a name alike":         {with(func(m *Machine) { m.Controllers = controllers("hugememory cpu") }), "no memory controller"},
		"unreadable":           {with(func(m *Machine) { m.Controllers = func(string) (string, error) { return "", errors.New("denied") } }), "no memory controller"},
		"too little memory":    {with(func(m *Machine) { m.Free = 1 << 30 }), "1024 MiB of memory free here, 3072 MiB needed"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Choose(Auto, tc.machine, need)
			require.NoError(t, err)
			if tc.obst == "" {
				assert.Equal(t, Place{Native, "root on cgroup v2 with the memory controller", "/sys/fs/cgroup"}, p)
			} else {
				assert.Equal(t, VM, p.Where)
				assert.Contains(t, p.Why, tc.obst)
			}

			p, err = Choose(Native, tc.machine, need)
			if tc.obst == "" {
				assert.Equal(t, Native, p.Where)
			} else {
				assert.ErrorContains(t, err, tc.obst, "what was asked for is not replaced")
			}

			p, err = Choose(VM, tc.machine, need)
			require.NoError(t, err)
			assert.Equal(t, VM, p.Where)
		})
	}
}

func controllers(text string) func(string) (string, error) {
	return func(string) (string, error) { return text, nil }
}
