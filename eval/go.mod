module github.com/otelcol-reflex/reflex/eval

go 1.25.0

replace github.com/otelcol-reflex/reflex => ../

require (
	github.com/otelcol-reflex/reflex v0.0.0-00010101000000-000000000000
	github.com/spf13/cobra v1.10.2
	github.com/stretchr/testify v1.12.1
	gonum.org/v1/gonum v0.17.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
