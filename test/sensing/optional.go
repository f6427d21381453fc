// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"errors"
)

// Optional is what a load loses beside a receiver with one more option on, against
// one with its defaults.
type Optional struct {
	// Option is the setting.
	Option string `json:"option"`
	Overhead
}

// option is something that is off by default, and the load that pays for it.
type option struct {
	setting string
	load    load
}

// options are those of the receiver. The load is in a cgroup below the one that
// the receiver samples: what is attached there is paid for there only.
func options(s sizes, cgroup string) []option {
	return []option{
		// Twenty times as long as its window is the shortest period there is.
		{"syscalls: {enabled: true, window: 100ms, period: 2s}", systemCallLoad(s, cgroup)},
		{"cgroup_network: {enabled: true}", networkLoad(s, cgroup)},
	}
}

// measureOptional runs each load beside a collector with the receiver's defaults
// and beside one with the option.
func measureOptional(ctx context.Context, mount, binary string, s sizes, say func(string, ...any)) (rows []Optional, err error) {
	tree, err := Grow(mount, overheadCgroups)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Remove()) }()
	if err := tree.Populate(); err != nil {
		return nil, err
	}
	s.span = max(s.span, s.optional)
	for _, o := range options(s, tree.Paths[len(tree.Paths)-1]) {
		config := withOption(tree.Root, "100ms", o.setting)
		row, err := o.load.compare(ctx, binary, sensingOnly(tree.Root, "100ms"), config, s.pairs, say)
		if err != nil {
			return nil, err
		}
		if err := o.load.account(ctx, binary, config, &row); err != nil {
			return nil, err
		}
		rows = append(rows, Optional{o.setting, row})
	}
	return rows, nil
}
