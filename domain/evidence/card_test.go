package evidence

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// cycloneDX compiles the specification's own schema, which its Go library
// carries beside its sources.
func cycloneDX(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	const at = "http://cyclonedx.org/schema/"
	for url, file := range map[string]string{"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "schema", file))
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		require.NoError(t, compiler.AddResource(at+url, doc))
	}
	schema, err := compiler.Compile(at + "bom-1.6.schema.json")
	require.NoError(t, err)
	return schema
}

// The card is read by other people's tools: it is valid by the specification's
// schema, and its library reads back what we said.
func TestTheModelCardIsCycloneDX(t *testing.T) {
	text := newWorld(t, nil).pack()[bomFile]
	schema := cycloneDX(t)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(text, &doc))
	require.NoError(t, schema.Validate(doc))

	var read cyclonedx.BOM
	require.NoError(t, cyclonedx.NewBOMDecoder(bytes.NewReader(text), cyclonedx.BOMFileFormatJSON).Decode(&read))
	part := read.Metadata.Component
	require.Equal(t, cyclonedx.ComponentTypeMachineLearningModel, part.Type)
	require.NotEmpty(t, *part.ModelCard.ModelParameters.Datasets)
	require.NotEmpty(t, *part.ModelCard.QuantitativeAnalysis.PerformanceMetrics)

	for name, spoil := range map[string]func(){
		"another specification": func() { doc["bomFormat"] = "SPDX" },
		"a key of our own":      func() { doc["fabric"] = true },
		"a serial that is none": func() { doc["serialNumber"] = "urn:uuid:1" },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, json.Unmarshal(text, &doc))
			spoil()
			require.Error(t, schema.Validate(doc))
			delete(doc, "fabric")
		})
	}
}
