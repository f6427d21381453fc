// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// maxLinks bounds the network interfaces told apart.
const maxLinks = 64

// received is what one network interface had received.
type received struct {
	name    string
	packets uint64
}

// Flooded implements [policy.Inspector].
func (i *inspector) Flooded() (policy.Interface, error) {
	entries, err := os.ReadDir(filepath.Join(i.sys, "class/net"))
	if err != nil {
		return policy.Interface{}, fmt.Errorf("list network interfaces: %w", err)
	}
	var busiest received
	now := make([]received, 0, len(i.links))
	for _, e := range entries {
		if len(now) == maxLinks {
			break
		}
		total, err := i.linkNumber(e.Name(), "statistics/rx_packets")
		if err != nil || e.Name() == "lo" {
			continue
		}
		now = append(now, received{e.Name(), total})
		since := total
		for _, before := range i.links {
			if before.name == e.Name() {
				since = total - min(total, before.packets)
			}
		}
		if since > busiest.packets {
			busiest = received{e.Name(), since}
		}
	}
	i.links = now
	if busiest.name == "" {
		return policy.Interface{}, errors.New("no network interface receives anything")
	}
	index, err := i.linkNumber(busiest.name, "ifindex")
	if err != nil {
		return policy.Interface{}, err
	}
	return policy.Interface{Index: uint32(index), Name: busiest.name}, nil //nolint:gosec // the kernel's are 31 bits
}

func (i *inspector) linkNumber(link, file string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(i.sys, "class/net", link, file))
	if err != nil {
		return 0, fmt.Errorf("read %s of interface %s: %w", file, link, err)
	}
	v, ok := cgroupfs.ParseUint(bytes.TrimSpace(text))
	if !ok {
		return 0, fmt.Errorf("read %s of interface %s: unexpected format", file, link)
	}
	return v, nil
}
