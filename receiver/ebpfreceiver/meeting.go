// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// findMeeting returns the extension that is the meeting point of the arc: the
// one named by key reflex, else the only one there is, else nil.
func findMeeting(host component.Host, named *component.ID) (arc.Meeting, error) {
	extensions := host.GetExtensions()
	if named != nil {
		extension, found := extensions[*named]
		if !found {
			return nil, fmt.Errorf("reflex: there is no extension %q; is it listed in service::extensions?", named)
		}
		meeting, ok := extension.(arc.Meeting)
		if !ok {
			return nil, fmt.Errorf("reflex: extension %q is no reflex extension", named)
		}
		return meeting, nil
	}

	var only arc.Meeting
	var names []string
	for id, extension := range extensions {
		if meeting, ok := extension.(arc.Meeting); ok {
			only = meeting
			names = append(names, id.String())
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
		return nil, fmt.Errorf("reflex: there are several reflex extensions (%s); name one", strings.Join(names, ", "))
	}
	return only, nil
}

// report tells the meeting what this source lacks, if it wants to know.
func report(meeting arc.Meeting, source string, missing []arc.Requirement) {
	reporter, ok := meeting.(arc.Reporter)
	if !ok {
		return
	}
	reporter.Missing(source, missing)
}
