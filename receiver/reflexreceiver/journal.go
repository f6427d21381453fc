// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

// journalKeeper is what the receiver needs of the reflex extension.
type journalKeeper interface {
	Journal() *episode.Journal
	State() episode.State
}

// findJournal returns the extension that wanted names or, when it names none, the only
// one that keeps a journal.
func findJournal(host component.Host, wanted *component.ID) (journalKeeper, error) {
	extensions := host.GetExtensions()
	if wanted != nil {
		extension, ok := extensions[*wanted]
		if !ok {
			return nil, fmt.Errorf("reflex: extension %q is not among service::extensions", wanted)
		}
		keeper, ok := extension.(journalKeeper)
		if !ok {
			return nil, fmt.Errorf("reflex: extension %q keeps no journal of episodes", wanted)
		}
		return keeper, nil
	}
	var found journalKeeper
	for _, extension := range extensions {
		keeper, ok := extension.(journalKeeper)
		if !ok {
			continue
		}
		if found != nil {
			return nil, errors.New("reflex: several extensions keep a journal of episodes, name one of them")
		}
		found = keeper
	}
	if found == nil {
		return nil, errors.New("reflex: no extension keeps a journal of episodes, configure the reflex extension and list it in service::extensions")
	}
	return found, nil
}
