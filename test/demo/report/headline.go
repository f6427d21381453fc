// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// headline tells the outcome in a few sentences, the unwelcome parts too.
func headline(r *Report, with *recording.Arm) string {
	var b strings.Builder
	leak := fmt.Sprintf("a leak of %d MB/s", with.LeakRate/1_000_000)
	switch {
	case r.Contained != nil && r.Detected != nil:
		fmt.Fprintf(&b, "Reflex noticed %s after %.1f s and contained it after %.1f s.", leak, *r.Detected, *r.Contained)
	case r.Contained != nil:
		fmt.Fprintf(&b, "Reflex contained %s after %.1f s.", leak, *r.Contained)
	case r.Detected != nil:
		fmt.Fprintf(&b, "Reflex noticed %s after %.1f s but did not contain it.", leak, *r.Detected)
	default:
		fmt.Fprintf(&b, "Reflex did not notice %s.", leak)
	}
	fmt.Fprintf(&b, " In the minute from the onset the payment service answered %s requests", thousands(r.TransactionsWith))
	fmt.Fprintf(&b, " and %s; without Reflex it answered %s", choose(r.PaymentAliveWith, "lived", "did not survive"), thousands(r.TransactionsWithout))
	if r.OOMKillWithout != nil {
		fmt.Fprintf(&b, ", because the kernel killed it after %.1f s.", *r.OOMKillWithout)
	} else {
		b.WriteString(".")
	}
	fmt.Fprintf(&b, " Its neighbour's p99 was %.1f ms; %.1f ms is usual.", r.NeighbourP99With, r.NeighbourP99Baseline)
	return b.String()
}

// thousands groups the digits of n.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
