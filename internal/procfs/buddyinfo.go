// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/entropy"
)

// maxOrders bounds the sizes of blocks told apart. The kernel has 11, up to 2¹⁰
// pages, unless it was built with another MAX_PAGE_ORDER.
const maxOrders = 32

// parseBuddyinfo reads how many free blocks of 2⁰, 2¹, … pages each zone has. Of
// all free pages, the share pᵢ lies in blocks of 2ⁱ pages; what is told is
//
//	−Σ pᵢ ln pᵢ / ln n
//
// with the number n of sizes that the kernel knows. It is 0 when all free blocks
// are of one size, as all of the largest after boot, and 1 when every size holds
// as many pages as any other. It grows while large blocks are broken up, and
// falls again when next to nothing but the smallest are left.
func (r *Reader) parseBuddyinfo(text []byte, into *arc.Node) {
	var pages [maxOrders]uint64
	orders := 0
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		_, zone, found := bytes.Cut(line, []byte("zone"))
		if !found {
			continue
		}
		_, counts := cutField(zone) // its name
		var blocks [maxOrders]uint64
		n := numbers(counts, blocks[:])
		for order, count := range blocks[:n] {
			pages[order] += count << order
		}
		orders = max(orders, n)
	}
	if orders > 1 {
		r.set(into, arc.NodeMemoryFragmentation, entropy.Normalised(pages[:orders]))
	}
}
