"""
Countries by their ISO 3166 alpha-2 codes, each with its region, its name and what else it is called.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Country:
    """
    One country; the first name is the one to show.
    """

    code: str
    region: str
    names: tuple[str, ...]


_REGIONS: Final = {
    "Caribbean": "AG Antigua and Barbuda|AI Anguilla|AW Aruba|BB Barbados|BL Saint Barthelemy|BQ Bonaire|BS Bahamas|"
    "CU Cuba/Cuban|CW Curacao/Curaçao|DM Dominica|DO Dominican Republic|GD Grenada|GP Guadeloupe|HT Haiti/Haitian|"
    "JM Jamaica|KN Saint Kitts and Nevis|KY Cayman Islands|LC Saint Lucia|MF Saint Martin|MQ Martinique|MS Montserrat|"
    "PR Puerto Rico|SX Sint Maarten|TC Turks and Caicos|TT Trinidad and Tobago/Trinidad|"
    "VC Saint Vincent and the Grenadines|VG British Virgin Islands|VI US Virgin Islands",
    "Central America": "BZ Belize|CR Costa Rica|GT Guatemala|HN Honduras|MX Mexico/Mexican|NI Nicaragua|PA Panama|"
    "SV El Salvador",
    "Central Asia": "KG Kyrgyzstan|KZ Kazakhstan|TJ Tajikistan|TM Turkmenistan|UZ Uzbekistan",
    "East Africa": "BI Burundi|DJ Djibouti|ER Eritrea|ET Ethiopia/Ethiopian|IO British Indian Ocean Territory|"
    "KE Kenya/Kenyan|KM Comoros|MG Madagascar|MU Mauritius|MW Malawi|MZ Mozambique|RE Reunion/Réunion|RW Rwanda|"
    "SC Seychelles|SO Somalia/Somali|SS South Sudan|TF French Southern Territories|TZ Tanzania|UG Uganda|YT Mayotte|"
    "ZM Zambia|ZW Zimbabwe",
    "East Asia": "CN China/Chinese/PRC|HK Hong Kong|JP Japan/Japanese|KP North Korea/DPRK|"
    "KR South Korea/South Korean/Republic of Korea|MN Mongolia|MO Macau/Macao|TW Taiwan/Taiwanese",
    "Europe": "AD Andorra|AL Albania|AT Austria|AX Aland Islands|BA Bosnia and Herzegovina/Bosnia|BE Belgium/Belgian|"
    "BG Bulgaria|BY Belarus|CH Switzerland|CZ Czechia/Czech Republic|DE Germany/German|DK Denmark/Danish|EE Estonia|"
    "ES Spain/Spanish|FI Finland/Finnish|FO Faroe Islands|FR France/French|"
    "GB United Kingdom/Britain/British/Great Britain/England/Scotland/Wales/Northern Ireland/UK|GG Guernsey|"
    "GI Gibraltar|GR Greece/Greek|HR Croatia|HU Hungary|IE Ireland/Irish|IM Isle of Man|IS Iceland|IT Italy/Italian|"
    "JE Jersey|LI Liechtenstein|LT Lithuania|LU Luxembourg|LV Latvia|MC Monaco|MD Moldova|ME Montenegro|"
    "MK North Macedonia|MT Malta/Maltese|NL Netherlands/Holland|NO Norway/Norwegian|PL Poland|PT Portugal|RO Romania|"
    "RS Serbia|RU Russia/Russian/Russian Federation|SE Sweden/Swedish|SI Slovenia|SJ Svalbard|SK Slovakia|"
    "SM San Marino|UA Ukraine/Ukrainian|VA Vatican City/Holy See",
    "Middle Africa": "AO Angola|CD Democratic Republic of the Congo/DRC/DR Congo|CF Central African Republic|"
    "CG Republic of the Congo|CM Cameroon|GA Gabon|GQ Equatorial Guinea|ST Sao Tome and Principe|TD Chad",
    "Middle East": "AE United Arab Emirates/UAE/Emirati|AM Armenia|AZ Azerbaijan|BH Bahrain|CY Cyprus|GE Georgia|"
    "IL Israel/Israeli|IQ Iraq/Iraqi|IR Iran/Iranian|JO Jordan|KW Kuwait|LB Lebanon/Lebanese|OM Oman/Omani|"
    "PS Palestine/Gaza/Palestinian|QA Qatar/Qatari|SA Saudi Arabia/Saudi|SY Syria/Syrian|TR Turkey/Türkiye/Turkiye/"
    "Turkish|YE Yemen/Yemeni",
    "North Africa": "DZ Algeria|EG Egypt/Egyptian|EH Western Sahara|LY Libya/Libyan|MA Morocco|SD Sudan|TN Tunisia",
    "North America": "BM Bermuda|CA Canada/Canadian|GL Greenland|PM Saint Pierre and Miquelon|"
    "US United States/USA/U.S./American",
    "Oceania": "AS American Samoa|AU Australia/Australian|CC Cocos Islands|CK Cook Islands|CX Christmas Island|FJ Fiji|"
    "FM Micronesia|GU Guam|HM Heard Island|KI Kiribati|MH Marshall Islands|MP Northern Mariana Islands|"
    "NC New Caledonia|NF Norfolk Island|NR Nauru|NU Niue|NZ New Zealand|PF French Polynesia|PG Papua New Guinea|"
    "PN Pitcairn|PW Palau|SB Solomon Islands|TK Tokelau|TO Tonga|TV Tuvalu|UM US Minor Outlying Islands|VU Vanuatu|"
    "WF Wallis and Futuna|WS Samoa",
    "Polar regions": "AQ Antarctica|BV Bouvet Island|GS South Georgia",
    "South America": "AR Argentina|BO Bolivia|BR Brazil/Brazilian|CL Chile|CO Colombia|EC Ecuador|"
    "FK Falkland Islands|GF French Guiana|GY Guyana|PE Peru|PY Paraguay|SR Suriname|UY Uruguay|VE Venezuela/Venezuelan",
    "South Asia": "AF Afghanistan|BD Bangladesh|BT Bhutan|IN India/Indian|LK Sri Lanka|MV Maldives|NP Nepal|"
    "PK Pakistan/Pakistani",
    "South-East Asia": "BN Brunei|ID Indonesia/Indonesian|KH Cambodia|LA Laos|MM Myanmar/Burma|MY Malaysia/Malaysian|"
    "PH Philippines/Philippine|SG Singapore|TH Thailand|TL Timor-Leste/East Timor|VN Vietnam/Vietnamese/Viet Nam",
    "Southern Africa": "BW Botswana|LS Lesotho|NA Namibia|SZ Eswatini|ZA South Africa/South African",
    "West Africa": "BF Burkina Faso|BJ Benin|CI Ivory Coast/Cote d'Ivoire|CV Cabo Verde/Cape Verde|GH Ghana|GM Gambia|"
    "GN Guinea|GW Guinea-Bissau|LR Liberia|ML Mali|MR Mauritania|NE Niger|NG Nigeria/Nigerian|SH Saint Helena|"
    "SL Sierra Leone|SN Senegal|TG Togo",
}

# What holds a country's name and is none. "Us" is a pronoun far more often than a country, so it is no name at all.
NOT_COUNTRIES: Final = (
    "new jersey", "new mexico", "gulf of mexico", "air jordan", "michael jordan", "jordan peterson", "south china sea",
    "china airlines", "turkey breast", "turkey dinner", "georgia tech", "atlanta georgia", "georgia bulldogs",
    "georgia senate", "indian ocean", "sea of japan", "gulf of oman", "panama papers",
    "panama hat", "panama city beach", "norfolk virginia", "english channel", "american samoa", "latin american",
    "south american", "central american", "north american", "native american", "indian wells", "greek yogurt",
    "french fries", "spanish flu", "gulf of guinea", "strait of gibraltar", "turkish airlines", "singapore airlines",
    "danish straits", "turkish straits", "singapore strait", "taiwan strait", "jersey city", "chad kelly",
    "american airlines", "chinese new year", "irish sea", "german shepherd", "cuban sandwich",
)  # fmt: skip


def _country(region: str, row: str) -> Country:
    code, _, names = row.partition(" ")
    return Country(code, region, tuple(names.split("/")))


COUNTRIES: Final = tuple(_country(region, row) for region, rows in _REGIONS.items() for row in rows.split("|"))
