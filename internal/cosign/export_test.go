package cosign

// VerifyWithCosign lets the differential test ask cosign without our pins.
var VerifyWithCosign = verifyWithCosign
